//! The two files in which a NameServer keeps what operators set, and the thread that writes them.
//! Owns: the thread. Lives on: the NameServer's thread, which never waits for the disk.
//! Kind: shell
//! Invariants:
//! - a file is replaced whole: written aside, synced, renamed, its directory synced;
//! - a file that cannot be read whole stops the start: nothing of it is guessed or dropped.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::thread::JoinHandle;

use runtime::eventfd::EventFd;
use runtime::file::{FileSystem, SharedFiles, replace_file};

use crate::namesrv::{KeptFile, KeyValues, Overrides, Save};

/// Where the files are.
#[derive(Debug, Clone)]
pub struct KeptFiles<S> {
    /// The file system.
    pub files: S,
    /// `kvConfigPath`, absolute.
    pub key_values: PathBuf,
    /// `configStorePath`, absolute.
    pub settings: PathBuf,
}

/// Why a start cannot go on from the files.
#[derive(Debug, thiserror::Error)]
pub enum KeptError {
    /// It cannot be read.
    #[error("{operation} {path}: {source}")]
    Io {
        /// What was tried.
        operation: &'static str,
        /// On which file.
        path: PathBuf,
        /// The operating system's words.
        source: io::Error,
    },
    /// It is not as it was written.
    #[error(
        "{path}, {what}, is damaged: {reason}; put a good copy in its place, or move it away to \
         start without"
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What it is to the operator.
        what: &'static str,
        /// What is wrong with it.
        reason: String,
    },
}

impl<S: FileSystem> KeptFiles<S> {
    /// Reads both; one that is not there is empty.
    ///
    /// # Errors
    /// [`KeptError`]
    pub fn load(&self) -> Result<(KeyValues, Overrides), KeptError> {
        let what = "the NameServer's key-value configuration";
        let key_values = self.read(&self.key_values, what, KeyValues::parse)?;
        let what = "what was set over the wire";
        let overrides = self.read(&self.settings, what, Overrides::parse)?;
        for (key, value) in overrides.iter() {
            let path = self.settings.display();
            tracing::info!(%path, key, value, "set over the wire before, and still in force");
        }
        Ok((key_values, overrides))
    }

    fn read<T: Default, E: std::fmt::Display>(
        &self,
        path: &Path,
        what: &'static str,
        parse: impl Fn(&[u8]) -> Result<T, E>,
    ) -> Result<T, KeptError> {
        let path = path.to_owned();
        match self.files.read(&path) {
            Ok(bytes) => parse(&bytes).map_err(|error| {
                let reason = error.to_string();
                KeptError::Damaged { path, what, reason }
            }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(T::default()),
            Err(source) => Err(KeptError::Io { operation: "read", path, source }),
        }
    }

    /// Writes one.
    ///
    /// # Errors
    /// What failed, on what, in words.
    pub fn save(&self, save: &Save) -> Result<(), String> {
        let path = match save.file {
            KeptFile::KeyValues => &self.key_values,
            KeptFile::Settings => &self.settings,
        };
        let written = self.replace(path, &save.content);
        written.map_err(|error| format!("write {}: {error}", path.display()))
    }

    fn replace(&self, path: &Path, content: &[u8]) -> io::Result<()> {
        // The directory is made with the first file.
        if let Some(directory) = path.parent() {
            self.make_directory(directory)?;
        }
        replace_file(&self.files, path, content)
    }

    fn make_directory(&self, directory: &Path) -> io::Result<()> {
        let listed = self.files.list(directory).map_err(|error| error.kind());
        let Some(parent) = directory.parent().filter(|_| listed == Err(io::ErrorKind::NotFound))
        else {
            return Ok(());
        };
        self.make_directory(parent)?;
        self.files.create_directory(directory)?;
        self.files.sync_directory(parent)
    }
}

/// The thread that writes the files, one after the other.
#[derive(Debug)]
pub struct Saver {
    saves: Sender<Save>,
    outcomes: Receiver<Result<(), String>>,
    thread: JoinHandle<()>,
}

impl Saver {
    /// Starts it. `done` is rung with every outcome.
    ///
    /// # Errors
    /// The operating system gives no thread.
    pub fn start<S: SharedFiles>(files: KeptFiles<S>, done: EventFd) -> io::Result<Saver> {
        // Unbounded in name only: there is one save at a time.
        let (saves, due) = channel::<Save>();
        let (results, outcomes) = channel();
        let thread =
            std::thread::Builder::new().name("namesrv-files".to_owned()).spawn(move || {
                for save in due {
                    let outcome = files.save(&save);
                    if let Err(reason) = &outcome {
                        tracing::error!(
                            reason,
                            "what was set over the wire is not kept and refused"
                        );
                    }
                    if results.send(outcome).is_err() {
                        return;
                    }
                    done.signal();
                }
            })?;
        Ok(Saver { saves, outcomes, thread })
    }

    /// Writes a file. The outcome of the one before must have been taken.
    ///
    /// # Panics
    /// If the thread has panicked.
    pub fn save(&self, save: Save) {
        self.saves.send(save).expect("the thread lives as long as this");
    }

    /// The outcome of the last save, when it is known.
    ///
    /// # Panics
    /// If the thread has panicked.
    pub fn outcome(&self) -> Option<Result<(), String>> {
        match self.outcomes.try_recv() {
            Ok(outcome) => Some(outcome),
            Err(TryRecvError::Empty) => None,
            Err(TryRecvError::Disconnected) => panic!("the thread lives as long as this"),
        }
    }

    /// Waits until what is being written is written.
    pub fn finish(self) {
        drop(self.saves);
        if self.thread.join().is_err() {
            tracing::error!("the thread that writes the NameServer's files has panicked");
        }
    }
}

#[cfg(test)]
mod tests {
    use runtime::file::SystemFiles;

    use super::*;

    /// In a directory whose parent is missing, too.
    fn kept(directory: &Path) -> KeptFiles<SystemFiles> {
        let directory = directory.join("home/namesrv");
        KeptFiles {
            files: SystemFiles,
            key_values: directory.join("kvConfig.json"),
            settings: directory.join("namesrv.properties"),
        }
    }

    fn save(file: KeptFile, content: &[u8]) -> Save {
        Save { file, content: content.to_vec() }
    }

    #[test]
    fn what_was_written_is_read_again() {
        let directory = tempfile::tempdir().unwrap();
        let kept = kept(directory.path());
        let (key_values, overrides) = kept.load().unwrap();
        assert_eq!((key_values, overrides), Default::default());

        let table = br#"{"configTable":{"n":{"k":"v"}}}"#;
        kept.save(&save(KeptFile::KeyValues, b"{}")).unwrap();
        kept.save(&save(KeptFile::KeyValues, table)).unwrap();
        kept.save(&save(KeptFile::Settings, b"enableTopicList=false\n")).unwrap();
        let (key_values, overrides) = kept.load().unwrap();
        assert_eq!(key_values, KeyValues::parse(table).unwrap());
        assert_eq!(overrides.iter().collect::<Vec<_>>(), [("enableTopicList", "false")]);
        let mut names = SystemFiles.list(&directory.path().join("home/namesrv")).unwrap();
        names.sort();
        assert_eq!(names, ["kvConfig.json", "namesrv.properties"], "nothing is left aside");
    }

    #[test]
    fn damage_and_what_cannot_be_read_stop_the_start() {
        let directory = tempfile::tempdir().unwrap();
        let kept = kept(directory.path());
        kept.save(&save(KeptFile::KeyValues, b"{\"configTable\":")).unwrap();
        let error = kept.load().unwrap_err().to_string();
        let path = kept.key_values.display();
        let begin =
            format!("{path}, the NameServer's key-value configuration, is damaged: it is no");
        assert!(error.starts_with(&begin), "{error}");
        assert!(error.ends_with("put a good copy in its place, or move it away to start without"));

        std::fs::remove_file(&kept.key_values).unwrap();
        kept.save(&save(KeptFile::Settings, b"rocketmqHome=/\n")).unwrap();
        let error = kept.load().unwrap_err().to_string();
        assert!(error.contains("rocketmqHome is no key that can be set here"), "{error}");

        std::fs::remove_file(&kept.settings).unwrap();
        std::fs::create_dir(&kept.key_values).unwrap();
        let error = kept.load().unwrap_err().to_string();
        assert!(error.starts_with(&format!("read {path}: ")), "{error}");
        let error = kept.save(&save(KeptFile::KeyValues, b"{}")).unwrap_err();
        assert!(error.starts_with(&format!("write {path}: ")), "{error}");
    }
}
