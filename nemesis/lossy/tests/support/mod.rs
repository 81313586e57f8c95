//! A layer for a test, where there can be one.

use lossy::Layer;
use std::path::PathBuf;

/// Dropped in this order.
pub(crate) struct Mounted {
    pub(crate) layer: Layer,
    dir: tempfile::TempDir,
}

impl Mounted {
    /// `None`, and a reason, where nothing can be mounted.
    pub(crate) fn new() -> Option<Mounted> {
        let dir = tempfile::tempdir().unwrap();
        for name in ["backing", "mount"] {
            std::fs::create_dir(dir.path().join(name)).unwrap();
        }
        let layer = Layer::mount(&dir.path().join("backing"), &dir.path().join("mount"));
        let layer = required::required("the right to mount through /dev/fuse", layer)?;
        Some(Mounted { layer, dir })
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join("mount").join(name)
    }

    /// Unmounts; what is left of it.
    #[allow(dead_code, reason = "each test program uses some of this")]
    pub(crate) fn end(self) -> tempfile::TempDir {
        self.layer.end().unwrap();
        self.dir
    }

    #[allow(dead_code, reason = "each test program uses some of this")]
    pub(crate) fn backing(&self, name: &str) -> PathBuf {
        self.dir.path().join("backing").join(name)
    }
}
