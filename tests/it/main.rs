//! One binary, one file per trip: the programs as a user runs them, each test in a home folder of its own.

mod broken_files;
mod command_line;
mod datasets;
mod estimate;
mod host_dies;
mod main_job;
mod serve;
mod settings;
mod streaming;
mod workbench;
mod worker_dies;
