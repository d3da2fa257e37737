//! The names of this machine and its user, for messages and reports only.

pub fn host_name() -> String {
    #[cfg(unix)]
    {
        rustix::system::uname()
            .nodename()
            .to_string_lossy()
            .into_owned()
    }
    #[cfg(not(unix))]
    {
        std::env::var("COMPUTERNAME").unwrap_or_else(|_| "-".to_owned())
    }
}

pub fn user_name() -> String {
    ["USER", "LOGNAME", "USERNAME"]
        .into_iter()
        .find_map(|name| std::env::var(name).ok().filter(|value| !value.is_empty()))
        .unwrap_or_else(|| {
            #[cfg(unix)]
            {
                format!("uid {}", rustix::process::getuid().as_raw())
            }
            #[cfg(not(unix))]
            {
                "-".to_owned()
            }
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_for_messages_are_never_empty() {
        assert!(!host_name().is_empty());
        assert!(!user_name().is_empty());
    }
}
