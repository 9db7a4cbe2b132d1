//! Pages of HTML: one run, or several beside each other.
//!
//! A page is one file without scripts and without anything from outside. Every number on it is taken
//! from the JSON that lies beside it, and says from where: `data-json` is the JSON pointer.

pub mod chart;
pub mod comparison;
pub mod html;
pub mod plots;
pub mod run;
#[cfg(test)]
pub mod wellformed;
