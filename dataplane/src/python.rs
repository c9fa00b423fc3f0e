//! The seam: the one file that knows Python. Bytes in, bytes out; the interpreter is let go while anything else happens,
//! and nothing here ever calls back into it.

use std::collections::HashMap;
use std::os::fd::RawFd;
use std::time::Duration;

use pyo3::exceptions::{PyRuntimeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::runtime::{Refused, Runtime};

pyo3::create_exception!(
    _dataplane,
    SnapshotRejected,
    PyValueError,
    "The bytes were refused and nothing changed."
);

impl From<Refused> for PyErr {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::ShutDown => PyRuntimeError::new_err(refused.to_string()),
            _ => SnapshotRejected::new_err(refused.to_string()),
        }
    }
}

/// The request path.
#[pyclass(frozen, module = "sidecar._dataplane")]
struct DataPlane {
    runtime: Runtime,
}

impl DataPlane {
    /// Runs `work` without the interpreter, unless this is a forked child.
    fn detached<T: Send>(&self, py: Python<'_>, work: impl FnOnce(&Runtime) -> T + Send) -> PyResult<T> {
        if self.runtime.is_forked() {
            return Err(PyRuntimeError::new_err(
                "this DataPlane belongs to the parent process and cannot be used after a fork; make a new one",
            ));
        }
        Ok(py.detach(|| work(&self.runtime)))
    }
}

#[pymethods]
impl DataPlane {
    #[new]
    fn new(py: Python<'_>, options: &[u8], listeners: HashMap<String, RawFd>) -> PyResult<Self> {
        let mut inherited = HashMap::with_capacity(listeners.len());
        for (name, descriptor) in listeners {
            // Python keeps its own descriptor; this one is ours.
            let ours = crate::net::duplicate(descriptor).map_err(|error| {
                PyValueError::new_err(format!("listener `{name}`: descriptor {descriptor}: {error}"))
            })?;
            inherited.insert(name, ours);
        }
        let runtime = py.detach(|| Runtime::start(options, inherited))?;
        Ok(DataPlane { runtime })
    }

    fn apply(&self, py: Python<'_>, snapshot: &[u8]) -> PyResult<u64> {
        Ok(self.detached(py, |runtime| runtime.apply(snapshot))??)
    }

    fn apply_endpoints(&self, py: Python<'_>, update: &[u8]) -> PyResult<u64> {
        Ok(self.detached(py, |runtime| runtime.apply_endpoints(update))??)
    }

    fn apply_secrets(&self, py: Python<'_>, secrets: &[u8]) -> PyResult<u64> {
        Ok(self.detached(py, |runtime| runtime.apply_secrets(secrets))??)
    }

    fn poll_events<'py>(&self, py: Python<'py>, max_events: usize, timeout: f64) -> PyResult<Bound<'py, PyBytes>> {
        let timeout = seconds("timeout", timeout)?;
        let events = self.detached(py, |runtime| runtime.poll_events(max_events, timeout))?;
        Ok(PyBytes::new(py, &events))
    }

    fn drain_spans<'py>(&self, py: Python<'py>, max_spans: usize) -> PyResult<Bound<'py, PyBytes>> {
        let spans = self.detached(py, |runtime| runtime.drain_spans(max_spans))?;
        Ok(PyBytes::new(py, &spans))
    }

    fn drain_access_log<'py>(&self, py: Python<'py>, max_records: usize) -> PyResult<Bound<'py, PyBytes>> {
        let lines = self.detached(py, |runtime| runtime.drain_access_log(max_records))?;
        Ok(PyBytes::new(py, &lines))
    }

    fn metrics<'py>(&self, py: Python<'py>, form: &str) -> PyResult<Bound<'py, PyBytes>> {
        let metrics = self.detached(py, |runtime| runtime.metrics(form))?;
        let metrics = metrics.map_err(|refused| PyValueError::new_err(refused.to_string()))?;
        Ok(PyBytes::new(py, &metrics))
    }

    fn query<'py>(&self, py: Python<'py>, request: &[u8]) -> PyResult<Bound<'py, PyBytes>> {
        let reply = self.detached(py, |runtime| runtime.query(request))?;
        let reply = reply.map_err(|refused| PyValueError::new_err(refused.to_string()))?;
        Ok(PyBytes::new(py, &reply))
    }

    fn leave(&self, py: Python<'_>) -> PyResult<()> {
        self.detached(py, Runtime::leave)
    }

    fn shutdown(&self, py: Python<'_>, grace: f64) -> PyResult<bool> {
        let grace = seconds("grace", grace)?;
        self.detached(py, |runtime| runtime.shutdown(grace))
    }
}

fn seconds(name: &str, value: f64) -> PyResult<Duration> {
    Duration::try_from_secs_f64(value).map_err(|error| PyValueError::new_err(format!("{name}: {value}: {error}")))
}

/// `sidecar._dataplane`
#[pymodule(gil_used = false)]
mod _dataplane {
    #[pymodule_export]
    use super::{DataPlane, SnapshotRejected};
}
