//! The description of the world that wit-dylib's bindings hand over, in its owned form.
//!
//! Their structures are read once, at the start, into [`World`], so that nothing else has to follow foreign pointers.

use alloc::string::String;
use alloc::vec::Vec;
use core::ffi::{CStr, c_char};

use crate::error::{Error, Result};
use crate::ffi::bindings::*;

/// The kind of records among types.
const RECORD: u32 = 14;
/// The kind of variants among types.
const VARIANT: u32 = 19;

/// A WIT type as the bindings number it: a kind in the low eight bits, an index into the world above.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TypeId(u32);

/// The types that this runtime converts from and to Python.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Type {
    /// `u8` to `u64`.
    Unsigned,
    /// `s8` to `s64`.
    Signed,
    /// `bool`.
    Bool,
    /// `char`.
    Char,
    /// `f32`, `f64`.
    Float,
    /// `string`.
    String,
    /// A record or a tuple: the types of its fields are those of [`World::fields`].
    Record(TypeId),
    /// `option<_>`.
    Option(TypeId),
    /// `result<_, _>`; a payload may be missing.
    Result(Option<TypeId>, Option<TypeId>),
    /// `list<u8>`.
    Bytes,
    /// Any other list.
    List(TypeId),
    /// A variant: its cases are those of [`World::case`].
    Variant(TypeId),
    /// Everything else.
    Unsupported(u32),
}

/// How an import is called.
#[derive(Debug, Clone, Copy)]
pub enum Entry {
    /// The call returns with the result.
    Sync(ImportFn),
    /// The call may go on after it has returned; its area must live until the result has been lifted.
    Async {
        /// Starts the call.
        start: AsyncImportFn,
        /// Lifts the result.
        lift: AsyncLiftFn,
        /// Size of the area in bytes.
        size: usize,
        /// Alignment of the area in bytes.
        align: usize,
    },
}

/// A function that the world imports.
#[derive(Debug, Clone)]
pub struct Import {
    /// The name in WIT; of a function of an interface `package/interface#function`, without a version.
    pub name: String,
    /// How to call it.
    pub entry: Entry,
    /// The types of its parameters.
    pub params: Vec<TypeId>,
    /// The type of its result, if it has one.
    pub result: Option<TypeId>,
}

/// A function that the world exports.
#[derive(Debug, Clone)]
pub struct Export {
    /// The name in WIT; of a function of an interface `package/interface#function`, without a version.
    pub name: String,
    /// Present if the export is asynchronous.
    pub task_return: Option<TaskReturnFn>,
    /// The type of its result, if it has one.
    pub result: Option<TypeId>,
}

/// A field of a record, or a case of a variant.
#[derive(Debug, Clone)]
struct Field {
    name: String,
    ty: TypeId,
}

/// The world that the component implements.
#[derive(Debug, Default)]
pub struct World {
    /// Imported functions, in the bindings' order.
    pub imports: Vec<Import>,
    /// Exported functions; the bindings name them by their place here.
    pub exports: Vec<Export>,
    records: Vec<Vec<Field>>,
    tuples: Vec<Vec<TypeId>>,
    variants: Vec<Vec<Field>>,
    options: Vec<TypeId>,
    results: Vec<(TypeId, TypeId)>,
    lists: Vec<TypeId>,
    aliases: Vec<TypeId>,
}

impl World {
    /// Reads the bindings' structures.
    ///
    /// # Errors
    /// Structures of another version; a function without an entry.
    ///
    /// # Safety
    /// `raw` must point to a `wit_t` whose pointers are all valid.
    pub unsafe fn read(raw: &RawWorld) -> Result<Self> {
        if raw.version != VERSION {
            return Err(Error::new(alloc::format!(
                "expected bindings of version {VERSION} but found version {}",
                raw.version
            )));
        }
        // SAFETY: the caller vouches for every pointer in the structure.
        unsafe {
            Ok(Self {
                imports: items(&raw.import_funcs)
                    .iter()
                    .map(|import| read_import(import))
                    .collect::<Result<_>>()?,
                exports: items(&raw.export_funcs)
                    .iter()
                    .map(|export| Export {
                        name: qualified(export.interface, export.name),
                        task_return: export.task_return,
                        result: TypeId::new(export.result),
                    })
                    .collect(),
                records: items(&raw.records)
                    .iter()
                    .map(|record| items(&record.fields).iter().map(|field| read_field(field)).collect())
                    .collect(),
                tuples: items(&raw.tuples).iter().map(|tuple| types(&tuple.types)).collect(),
                variants: items(&raw.variants)
                    .iter()
                    .map(|variant| items(&variant.cases).iter().map(|case| read_field(case)).collect())
                    .collect(),
                options: items(&raw.options).iter().map(|option| TypeId(option.ty)).collect(),
                results: items(&raw.results)
                    .iter()
                    .map(|result| (TypeId(result.ok), TypeId(result.err)))
                    .collect(),
                lists: items(&raw.lists).iter().map(|list| TypeId(list.ty)).collect(),
                aliases: items(&raw.aliases).iter().map(|alias| TypeId(alias.ty)).collect(),
            })
        }
    }

    /// Resolves a type's number.
    #[must_use]
    pub fn resolve(&self, id: TypeId) -> Type {
        let index = (id.0 >> 8) as usize;
        let unsupported = Type::Unsupported(id.0);
        match id.0 & 0xff {
            0..=3 => Type::Unsigned,
            4..=7 => Type::Signed,
            8 => Type::Bool,
            9 => Type::Char,
            10 | 11 => Type::Float,
            12 => Type::String,
            RECORD | 18 => Type::Record(id),
            VARIANT => Type::Variant(id),
            21 => self.options.get(index).map_or(unsupported, |ty| Type::Option(*ty)),
            22 => self
                .results
                .get(index)
                .map_or(unsupported, |(ok, err)| Type::Result(TypeId::new(ok.0), TypeId::new(err.0))),
            23 => self.list(index).unwrap_or(unsupported),
            28 => self.aliases.get(index).map_or(unsupported, |ty| self.resolve(*ty)),
            _ => unsupported,
        }
    }

    /// The type of the list with an index, as the bindings pass it to the list intrinsics.
    #[must_use]
    pub fn list(&self, index: usize) -> Option<Type> {
        let element = *self.lists.get(index)?;
        Some(if self.is_byte(element) { Type::Bytes } else { Type::List(element) })
    }

    /// The types of the fields of a record or tuple.
    #[must_use]
    pub fn fields(&self, id: TypeId) -> Vec<TypeId> {
        let index = (id.0 >> 8) as usize;
        if id.0 & 0xff == RECORD {
            self.records.get(index).map(|fields| fields.iter().map(|field| field.ty).collect())
        } else {
            self.tuples.get(index).cloned()
        }
        .unwrap_or_default()
    }

    /// The names of the fields of a record; a tuple has none.
    #[must_use]
    pub fn field_names(&self, id: TypeId) -> Vec<&str> {
        let fields = if id.0 & 0xff == RECORD { self.records.get((id.0 >> 8) as usize) } else { None };
        fields.map(|fields| fields.iter().map(|field| field.name.as_str()).collect()).unwrap_or_default()
    }

    /// The number of fields of a record, by the index that the bindings pass.
    #[must_use]
    pub fn record_len(&self, index: usize) -> usize {
        self.records.get(index).map_or(0, Vec::len)
    }

    /// The number of fields of a tuple, by the index that the bindings pass.
    #[must_use]
    pub fn tuple_len(&self, index: usize) -> usize {
        self.tuples.get(index).map_or(0, Vec::len)
    }

    /// Tells whether a case of a result has a payload.
    #[must_use]
    pub fn result_has_payload(&self, index: usize, case: u32) -> bool {
        self.results
            .get(index)
            .is_some_and(|(ok, err)| TypeId::new(if case == 0 { ok.0 } else { err.0 }).is_some())
    }

    /// Tells whether a case of a variant has a payload.
    #[must_use]
    pub fn variant_has_payload(&self, index: usize, case: u32) -> bool {
        let cases = self.variants.get(index);
        cases.and_then(|cases| cases.get(case as usize)).is_some_and(|case| TypeId::new(case.ty.0).is_some())
    }

    /// The name of a case of a variant, and the type of its payload.
    #[must_use]
    pub fn case(&self, id: TypeId, case: u32) -> Option<(&str, Option<TypeId>)> {
        let case = self.variants.get((id.0 >> 8) as usize)?.get(case as usize)?;
        Some((case.name.as_str(), TypeId::new(case.ty.0)))
    }

    fn is_byte(&self, id: TypeId) -> bool {
        match id.0 & 0xff {
            0 => true,
            28 => self.aliases.get((id.0 >> 8) as usize).is_some_and(|ty| self.is_byte(*ty)),
            _ => false,
        }
    }
}

impl TypeId {
    /// `None` for the number that stands for "no type".
    fn new(raw: u32) -> Option<Self> {
        (raw & 0xff != 0xff).then_some(Self(raw))
    }
}

/// # Safety
/// The import's pointers must be valid.
unsafe fn read_import(raw: &RawImport) -> Result<Import> {
    // SAFETY: the caller vouches for the pointers.
    let (name, params) = unsafe { (qualified(raw.interface, raw.name), types(&raw.params)) };
    let entry = match (raw.sync, raw.start, raw.lift) {
        (Some(function), ..) => Entry::Sync(function),
        (None, Some(start), Some(lift)) => {
            Entry::Async { start, lift, size: raw.area_size, align: raw.area_align }
        }
        _ => return Err(Error::new(alloc::format!("import `{name}` has no entry"))),
    };
    Ok(Import { name, entry, params, result: TypeId::new(raw.result) })
}

/// # Safety
/// The field's pointer must be valid.
unsafe fn read_field(raw: &RawField) -> Field {
    // SAFETY: as the caller says.
    Field { name: unsafe { text(raw.name) }, ty: TypeId(raw.ty) }
}

/// The name of a function, after that of its interface if it has one. Versions of an interface that are
/// compatible have the same functions, so its version is left out.
///
/// # Safety
/// Both pointers must be null or point to strings that end in a zero byte.
unsafe fn qualified(interface: *const c_char, name: *const c_char) -> String {
    // SAFETY: as the caller says.
    let (interface, name) = unsafe { (text(interface), text(name)) };
    match interface.split('@').next() {
        None | Some("") => name,
        Some(interface) => alloc::format!("{interface}#{name}"),
    }
}

/// # Safety
/// The list's pointer must be valid for its count.
unsafe fn types(list: &RawList<u32>) -> Vec<TypeId> {
    // SAFETY: as the caller says.
    unsafe { items(list) }.iter().map(|ty| TypeId(*ty)).collect()
}

/// # Safety
/// The list's pointer must be valid for its count.
unsafe fn items<T>(list: &RawList<T>) -> &[T] {
    if list.count == 0 || list.items.is_null() {
        return &[];
    }
    // SAFETY: the pointer is not null, and valid for the count as the caller says.
    unsafe { core::slice::from_raw_parts(list.items, list.count) }
}

/// # Safety
/// The pointer must be null or point to a string that ends in a zero byte.
unsafe fn text(raw: *const c_char) -> String {
    if raw.is_null() {
        return String::new();
    }
    // SAFETY: the pointer is not null, and a C string as the caller says.
    unsafe { CStr::from_ptr(raw) }.to_string_lossy().into_owned()
}
