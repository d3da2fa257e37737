//! Whether two paths mean one file, which may not be there yet.

use std::path::{Path, PathBuf};

/// Returns whether two paths lead to one place, however they are written.
pub(crate) fn is_one_place(one: &Path, other: &Path) -> bool {
    place(one) == place(other)
}

/// Returns the one way to write a path, whether a file is there yet or not.
fn place(path: &Path) -> PathBuf {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let beside = || Some(folder.canonicalize().ok()?.join(path.file_name()?));
    let there = path.canonicalize().ok();
    there.or_else(beside).unwrap_or_else(|| path.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_known_by_its_folder_where_it_is_not_there_yet_and_by_its_end_where_it_is_a_link() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        assert!(is_one_place(&at("a.csv"), &at("./a.csv")));
        assert!(!is_one_place(&at("a.csv"), &at("b.csv")));
        assert!(!is_one_place(&at("gone/a.csv"), &at("a.csv")));
        std::fs::write(at("a.csv"), "").unwrap();
        #[cfg(unix)]
        {
            std::os::unix::fs::symlink(at("a.csv"), at("link.csv")).unwrap();
            assert!(is_one_place(&at("a.csv"), &at("link.csv")));
        }
    }

    #[test]
    fn a_bare_name_means_a_file_here() {
        assert!(is_one_place(Path::new("a.csv"), Path::new("./a.csv")));
    }
}
