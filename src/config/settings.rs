//! What file and flags set, checked key by key; a flag wins over the file.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::error::{ConfigError, Place};
use super::file;
use super::flags::{Given, Print};
use super::keys::{self, Class, Fallback, Key};
use super::limits::MISTAKES_MAX;
use super::program::Program;
use super::value::{Value, Wrong};

/// Values of promise-bearing keys that are kept beside the default.
const ALSO_KEPT: &[(&str, &str)] = &[("tls.server.mode", "disabled")];

/// A key with a good value.
#[derive(Debug, Clone)]
pub struct Setting {
    /// The key.
    pub key: &'static Key,
    /// Its value.
    pub value: Value,
    /// Where it was set.
    pub place: Place,
    /// What a flag overrides: where it is, and its text.
    pub overridden: Option<(Place, String)>,
}

/// A key as it holds, for the log at start and for `-p`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Effective {
    /// The key.
    pub key: &'static Key,
    /// Its value.
    pub value: String,
    /// Where it was set.
    pub place: Place,
    /// What a flag overrides: where it is, and its text.
    pub overridden: Option<(Place, String)>,
}

impl fmt::Display for Effective {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |value| keys::shown(self.key.name, value);
        write!(out, "{} = {} ({}", self.key.name, shown(&self.value), self.place)?;
        match &self.overridden {
            Some((place, value)) => write!(out, ", overrides {} of {place})", shown(value)),
            None => out.write_str(")"),
        }
    }
}

/// The lines that `-p` or `-m` prints, as `MixAll.printObjectProperties` has them.
pub fn printed(effective: &[Effective], print: Print) -> String {
    let is_wanted = |line: &&Effective| match print {
        Print::All => true,
        Print::Important => keys::is_important(line.key.name),
    };
    let wanted = effective.iter().filter(is_wanted);
    wanted.map(|line| format!("{}={}\n", line.key.name, line.value)).collect()
}

/// The configuration as tools see it (26 GET_BROKER_CONFIG): what holds here, no secret among it. What has no
/// effect is left out, so that nobody believes it.
pub fn shown(effective: &[Effective]) -> BTreeMap<&'static str, String> {
    let holds = |line: &&Effective| matches!(line.key.class, Class::Honoured | Class::Promise(_));
    let open = effective.iter().filter(holds).filter(|line| !keys::is_secret(line.key.name));
    open.map(|line| (line.key.name, line.value.clone())).collect()
}

/// All that is set, and which keys could not be read.
#[derive(Debug)]
pub struct Settings {
    program: Program,
    set: Vec<Setting>,
    bad: Vec<&'static str>,
    errors: Vec<ConfigError>,
}

impl Settings {
    /// Reads the text of a file, if there is one, and then the flags.
    pub fn gather(program: Program, file: Option<(&Path, &[u8])>, given: &[Given]) -> Self {
        let (set, bad, errors) = (Vec::new(), Vec::new(), Vec::new());
        let mut settings = Self { program, set, bad, errors };
        if let Some((path, bytes)) = file {
            settings.read_file(&Arc::new(path.to_owned()), bytes);
        }
        for Given { flag, key, value } in given {
            let key = keys::find(program, key).expect("every flag stands for a key");
            settings.set(key, value, Place::Flag(flag));
        }
        settings
    }

    /// What reads them.
    pub fn program(&self) -> Program {
        self.program
    }

    fn read_file(&mut self, path: &Arc<PathBuf>, bytes: &[u8]) {
        let place = |line| Place::File(Arc::clone(path), line);
        let (entries, malformed) = file::parse(bytes);
        for (line, reason) in malformed.into_iter().take(MISTAKES_MAX) {
            self.errors.push(ConfigError::Malformed { place: place(line), reason });
        }
        let mut seen: Vec<(&str, u32)> = Vec::new();
        for entry in &entries {
            let place = place(entry.line);
            if self.errors.len() >= MISTAKES_MAX {
                let count = self.errors.len();
                self.errors.push(ConfigError::TooMany { place, count });
                return;
            }
            let Some(key) = keys::find(self.program, &entry.key) else {
                self.errors.push(no_key(self.program, place, &entry.key));
                continue;
            };
            if let Some((_, line)) = seen.iter().find(|(name, _)| *name == key.name) {
                let first = Place::File(Arc::clone(path), *line);
                self.errors.push(ConfigError::Duplicate { place, key: key.name, first });
                continue;
            }
            seen.push((key.name, entry.line));
            self.set(key, &entry.value, place);
        }
    }

    fn set(&mut self, key: &'static Key, text: &str, place: Place) {
        match check(key, text, &place) {
            Ok(value) => {
                let before = self.set.iter().position(|setting| setting.key.name == key.name);
                let overridden = before.map(|index| self.set.remove(index));
                let overridden = overridden.map(|old| (old.place, old.value.to_string()));
                self.set.push(Setting { key, value, place, overridden });
            }
            Err(error) => {
                self.bad.push(key.name);
                self.errors.push(error);
            }
        }
    }

    /// Gives a key that nobody set the value that was found out for it.
    pub fn compute(&mut self, name: &str, text: &str) {
        self.set(self.key(name), text, Place::Default);
    }

    /// Takes a variable of the environment for a key that neither file nor flag sets.
    pub fn set_from_environment(&mut self, name: &str, variable: &'static str, text: &str) {
        if self.get(name).is_none() && self.are_good(&[name]) {
            self.set(self.key(name), text, Place::Environment(variable));
        }
    }

    fn key(&self, name: &str) -> &'static Key {
        keys::find(self.program, name).expect("the program reads the key")
    }

    /// The setting of a key, if somebody set it well.
    pub fn get(&self, name: &str) -> Option<&Setting> {
        self.set.iter().find(|setting| setting.key.name == name)
    }

    /// What is set.
    pub fn all(&self) -> &[Setting] {
        &self.set
    }

    /// Whether none of these keys has an error, so that their relation can be judged.
    pub fn are_good(&self, names: &[&str]) -> bool {
        names.iter().all(|name| !self.bad.contains(name))
    }

    /// Where a key was set.
    pub fn place(&self, name: &str) -> Place {
        self.get(name).map_or(Place::Default, |setting| setting.place.clone())
    }

    /// The value that holds for a key with a fixed default.
    ///
    /// # Panics
    /// If the table has no such key, or nothing was computed for it.
    pub fn value(&self, name: &str) -> Value {
        if let Some(setting) = self.get(name) {
            return setting.value.clone();
        }
        default_of(self.key(name)).expect("a computed default is computed first")
    }

    /// Notes that two good values do not go together.
    pub fn refuse(&mut self, error: ConfigError) {
        self.errors.push(error);
    }

    /// All that is wrong.
    pub fn into_errors(self) -> Vec<ConfigError> {
        self.errors
    }

    /// Whether anything is wrong.
    pub fn has_errors(&self) -> bool {
        !self.errors.is_empty()
    }

    /// Every key as it holds.
    pub fn effective(&self) -> Vec<Effective> {
        let effective = keys::of(self.program).iter().map(|key| Effective {
            key,
            value: self.value(key.name).to_string(),
            place: self.place(key.name),
            overridden: self.get(key.name).and_then(|setting| setting.overridden.clone()),
        });
        effective.collect()
    }
}

fn no_key(program: Program, place: Place, name: &str) -> ConfigError {
    if let Some((key, home)) = keys::home(name) {
        return ConfigError::OtherPrograms { place, key: key.name, program, home };
    }
    let nearest = keys::nearest(program, name);
    ConfigError::UnknownKey { place, key: keys::shown(name, name), nearest }
}

/// A value of the right type and range, and, of a promise, one that is kept.
fn check(key: &'static Key, text: &str, place: &Place) -> Result<Value, ConfigError> {
    let (place, name, found) = (place.clone(), key.name, keys::shown(key.name, text));
    let value = match Value::parse(key.kind, text) {
        Ok(value) => value,
        Err(Wrong::Type(expected)) => {
            return Err(ConfigError::WrongType { place, key: name, found, expected });
        }
        Err(Wrong::Range(expected)) => {
            return Err(ConfigError::OutOfRange { place, key: name, found, expected });
        }
    };
    let Class::Promise(reason) = key.class else { return Ok(value) };
    let default = default_of(key).expect("a promise has a fixed default");
    if value == default || ALSO_KEPT.contains(&(name, text)) {
        return Ok(value);
    }
    let expected = default.to_string();
    Err(ConfigError::NotThere { place, key: name, found, expected, reason })
}

fn default_of(key: &Key) -> Option<Value> {
    let Fallback::Fixed(text) = key.default else { return None };
    Some(Value::parse(key.kind, text).expect("a test reads every default of the table"))
}
