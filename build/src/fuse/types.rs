//! One type section out of many, each type once.

use std::collections::HashMap;
use std::convert::Infallible;

use wasm_encoder::reencode::{Error as ReencodeError, Reencode};
use wasm_encoder::{Encode, TypeSection, ValType};

use super::parse::{Parsed, malformed};
use crate::error::Result;

/// The types of the fused module.
#[derive(Default)]
pub(super) struct Types {
    pub section: TypeSection,
    count: u32,
    known: HashMap<Vec<u8>, u32>,
}

/// Maps the type indices of one library while its types are added.
struct Map<'a>(&'a [u32]);

impl Reencode for Map<'_> {
    type Error = Infallible;

    fn type_index(&mut self, ty: u32) -> std::result::Result<u32, ReencodeError<Infallible>> {
        // An index that is out of range does not pass the validation of the result.
        Ok(self.0.get(ty as usize).copied().unwrap_or(u32::MAX))
    }
}

impl Types {
    /// Adds a library's types; returns what their indices become.
    ///
    /// # Errors
    /// When a type cannot be read.
    pub fn add(&mut self, library: &Parsed<'_>) -> Result<Vec<u32>> {
        let mut map = Vec::new();
        for group in &library.types {
            let first = map.len();
            // The members of a group may name each other: they get their places first.
            map.extend((self.count..).take(group.types().len()));
            let mut alone = TypeSection::new();
            let add = |section: &mut TypeSection, map: &[u32]| {
                Map(map)
                    .parse_recursive_type_group(section.ty(), group.clone())
                    .map_err(|error| malformed(library.name, &error))
            };
            add(&mut alone, &map)?;
            let mut key = Vec::new();
            alone.encode(&mut key);
            match self.known.get(&key) {
                Some(place) => {
                    for (index, member) in map.iter_mut().skip(first).zip(*place..) {
                        *index = member;
                    }
                }
                None => {
                    self.known.insert(key, self.count);
                    add(&mut self.section, &map)?;
                    self.count += group.types().len() as u32;
                }
            }
        }
        Ok(map)
    }

    /// The type of a function with these parameters and results, all `i32`.
    pub fn of_words(&mut self, params: usize, results: usize) -> u32 {
        let words = |section: &mut TypeSection| {
            section.ty().function(vec![ValType::I32; params], vec![ValType::I32; results]);
        };
        let mut alone = TypeSection::new();
        words(&mut alone);
        let mut key = Vec::new();
        alone.encode(&mut key);
        if let Some(place) = self.known.get(&key) {
            return *place;
        }
        words(&mut self.section);
        self.known.insert(key, self.count);
        self.count += 1;
        self.count - 1
    }
}
