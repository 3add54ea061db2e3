//! A walk over the TOML tree that keeps places, so that every mistake can be pointed at.
//!
//! A [`Section`] is a table: it remembers each key that was asked for, and [`Section::finish`] reports all others.
//! An [`Item`] is a value with the path of its key. Both report what they find to [`Findings`] and answer `None`,
//! so that reading goes on and the next mistake is found as well.

mod address;
mod findings;
mod item;
mod section;
mod suggest;

pub(crate) use findings::{At, Findings, Place};
pub(crate) use item::Item;
pub(crate) use section::Section;
pub(crate) use suggest::closest;
