//! Files that survive a crash: atomic writes, hashes, run folders, events, locks and checkpoints. No data formats here.

mod atomic;
pub mod checkpoints;
mod events;
mod hash;
mod lock;
mod new_file;
mod run_folder;

pub use atomic::{atomic_write, atomic_write_private, sync_dir};
pub use events::{EventTail, EventWriter};
pub(crate) use hash::hex;
pub use hash::{model_sha256, sha256_bytes, sha256_file};
pub use lock::RunLock;
pub use new_file::NewFile;
pub use run_folder::RunFolder;
