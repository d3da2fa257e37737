//! A config file on disk.

/// Writes a config file that only its owner may change, whatever mask the tests run under.
pub(crate) fn write_config(path: &std::path::Path, text: &str) {
    std::fs::write(path, text).unwrap();
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o644)).unwrap();
    }
}
