//! The `language` of a command: which kind of program sent it.
//!
//! Apache: `remoting/protocol/LanguageCode` (5.3.3). A JSON header carries the name, a binary one
//! the code. A name or code that Apache does not know decodes to nothing there and here.

/// The language of a peer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Language {
    /// The official Java client, and what servers call themselves.
    Java = 0,
    /// The C++ client and the Python, Node.js and PHP packages over it.
    Cpp = 1,
    /// .NET.
    Dotnet = 2,
    /// Python.
    Python = 3,
    /// Delphi.
    Delphi = 4,
    /// Erlang.
    Erlang = 5,
    /// Ruby.
    Ruby = 6,
    /// Anything else.
    Other = 7,
    /// HTTP.
    Http = 8,
    /// The Go client.
    Go = 9,
    /// PHP.
    Php = 10,
    /// OpenMessaging.
    Oms = 11,
    /// Rust.
    Rust = 12,
    /// Node.js.
    NodeJs = 13,
}

impl Language {
    /// Every language, in the order of its code.
    pub const ALL: [Language; 14] = [
        Language::Java,
        Language::Cpp,
        Language::Dotnet,
        Language::Python,
        Language::Delphi,
        Language::Erlang,
        Language::Ruby,
        Language::Other,
        Language::Http,
        Language::Go,
        Language::Php,
        Language::Oms,
        Language::Rust,
        Language::NodeJs,
    ];

    /// The byte in a binary header.
    pub const fn code(self) -> u8 {
        self as u8
    }

    /// The text in a JSON header.
    pub const fn name(self) -> &'static str {
        match self {
            Language::Java => "JAVA",
            Language::Cpp => "CPP",
            Language::Dotnet => "DOTNET",
            Language::Python => "PYTHON",
            Language::Delphi => "DELPHI",
            Language::Erlang => "ERLANG",
            Language::Ruby => "RUBY",
            Language::Other => "OTHER",
            Language::Http => "HTTP",
            Language::Go => "GO",
            Language::Php => "PHP",
            Language::Oms => "OMS",
            Language::Rust => "RUST",
            Language::NodeJs => "NODE_JS",
        }
    }

    /// The language of a binary header's byte.
    pub fn from_code(code: u8) -> Option<Language> {
        Language::ALL.get(usize::from(code)).copied()
    }

    /// The language of a JSON header's text, which must match exactly.
    pub fn from_name(name: &str) -> Option<Language> {
        Language::ALL.into_iter().find(|language| language.name() == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_and_names_round_trip() {
        for (index, language) in Language::ALL.into_iter().enumerate() {
            assert_eq!(usize::from(language.code()), index);
            assert_eq!(Language::from_code(language.code()), Some(language));
            assert_eq!(Language::from_name(language.name()), Some(language));
        }
        assert_eq!(Language::from_code(14), None);
        assert_eq!(Language::from_code(255), None);
        assert_eq!(Language::from_name("java"), None);
    }
}
