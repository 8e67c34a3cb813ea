//! One job per device: who holds which device in this host. Leases are held in memory and taken again at the next start.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use tb_core::ids::JobId;

/// The devices that jobs hold.
#[derive(Clone, Default)]
pub struct Leases {
    held: Arc<Mutex<HashMap<String, JobId>>>,
}

/// A device held by one job; dropping it frees the device.
#[must_use]
pub struct Lease {
    device: String,
    job: JobId,
    leases: Leases,
}

impl Leases {
    /// Takes `device` for `job`; none if another job holds it.
    pub fn take(&self, device: &str, job: &JobId) -> Option<Lease> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if held.contains_key(device) {
            return None;
        }
        held.insert(device.to_owned(), job.clone());
        Some(Lease { device: device.to_owned(), job: job.clone(), leases: self.clone() })
    }

    /// The job that holds `device`.
    #[must_use]
    pub fn holder(&self, device: &str) -> Option<JobId> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner).get(device).cloned()
    }
}

impl Lease {
    /// The device.
    #[must_use]
    pub fn device(&self) -> &str {
        &self.device
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let mut held = self.leases.held.lock().unwrap_or_else(PoisonError::into_inner);
        if held.get(&self.device) == Some(&self.job) {
            held.remove(&self.device);
        }
    }
}

#[cfg(test)]
mod tests {
    use tb_core::ids::JobId;

    use super::*;

    fn job(n: u32) -> JobId {
        format!("job_00000000-0000-7000-8000-{n:012}").parse().unwrap()
    }

    #[test]
    fn a_device_has_one_holder_at_a_time() {
        let leases = Leases::default();
        let first = leases.take("cpu", &job(1)).unwrap();
        assert!(leases.take("cpu", &job(2)).is_none());
        assert_eq!(leases.holder("cpu"), Some(job(1)));
        let other = leases.take("cuda:0", &job(2)).unwrap();
        drop(first);
        assert!(leases.holder("cpu").is_none());
        assert!(leases.take("cpu", &job(3)).is_some());
        assert_eq!(other.device(), "cuda:0");
    }
}
