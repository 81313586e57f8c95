//! Pictures, drawn once and written twice: as SVG into the page, as PNG beside it.
//!
//! | file | concept |
//! |---|---|
//! | `ink.rs` | every colour, in light and in dark |
//! | `font.rs` | the embedded font: how wide text is, its outlines |
//! | `scene.rs` | what is in a picture |
//! | `svg.rs`, `bitmap.rs` | the two outputs |
//! | `scale.rs` | from values to places, with ticks |
//! | `frame.rs` | a plot's title, legend, axes and grid |
//! | `strip.rs` | phases and faults as rows above a plot, and as bands behind it |

pub(crate) mod bitmap;
pub(crate) mod font;
pub(crate) mod frame;
pub(crate) mod ink;
pub(crate) mod scale;
pub(crate) mod scene;
pub(crate) mod strip;
pub(crate) mod svg;
