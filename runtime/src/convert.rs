//! Values of WIT types from and to Python objects.
//!
//! | WIT | Python |
//! |---|---|
//! | integers, floats, bool, char, string | int, float, bool, str, str |
//! | `list<u8>`, other lists | bytes, list |
//! | record, tuple | tuple |
//! | option | None or the value |
//! | result | a pair of whether it succeeded, and the payload or None |
//! | variant | a pair of the case's name, and the payload or None; not to WIT |

use alloc::boxed::Box;
use alloc::string::ToString;
use alloc::vec::Vec;

use crate::abi::{Type, TypeId, World};
use crate::call::Value;
use crate::error::{Error, Result};
use crate::python::Object;

/// Makes the Python object for a value; `ty` is its type, which tells options from results.
///
/// # Errors
/// A type that has no counterpart; no memory.
pub fn to_python(world: &World, ty: Option<TypeId>, value: Value) -> Result<Object> {
    let kind = ty.map(|ty| world.resolve(ty));
    match value {
        Value::Bool(value) => Object::bool(value),
        Value::Unsigned(value) => Object::unsigned(value),
        Value::Signed(value) => Object::signed(value),
        Value::Float(value) => Object::float(value),
        Value::Char(value) => Object::str(value.to_string().as_bytes()),
        Value::String(text) => Object::str(text.as_bytes()),
        Value::Bytes(bytes) => Object::bytes(&bytes),
        Value::List(elements) => {
            let element = if let Some(Type::List(element)) = kind { Some(element) } else { None };
            Object::list(
                elements.into_iter().map(|value| to_python(world, element, value)).collect::<Result<_>>()?,
            )
        }
        Value::Record(fields) => {
            let types = if let Some(Type::Record(id)) = kind { world.fields(id) } else { Vec::new() };
            let fields = fields
                .into_iter()
                .enumerate()
                .map(|(index, value)| to_python(world, types.get(index).copied(), value))
                .collect::<Result<_>>()?;
            Object::tuple(fields)
        }
        Value::Variant(case, payload) if let Some(Type::Variant(id)) = kind => {
            let (name, inner) = world.case(id, case).ok_or_else(|| Error::new("no such case"))?;
            let payload = match payload {
                Some(value) => to_python(world, inner, *value)?,
                None => Object::none(),
            };
            Object::tuple([Object::str(name.as_bytes())?, payload].into())
        }
        Value::Variant(case, payload) => {
            let (inner, is_option) = match kind {
                Some(Type::Option(inner)) => (Some(inner), true),
                Some(Type::Result(ok, err)) => (if case == 0 { ok } else { err }, false),
                _ => return Err(Error::new("variants are not supported")),
            };
            let payload = match payload {
                Some(value) => to_python(world, inner, *value)?,
                None => Object::none(),
            };
            if is_option { Ok(payload) } else { Object::tuple([Object::bool(case == 0)?, payload].into()) }
        }
        Value::Number(number) => Object::unsigned(number.into()),
    }
}

/// Makes the value of a type from a Python object.
///
/// # Errors
/// An object that does not fit the type; a type that has no counterpart.
pub fn from_python(world: &World, ty: TypeId, object: &Object) -> Result<Value> {
    Ok(match world.resolve(ty) {
        Type::Unsigned => Value::Unsigned(object.to_unsigned()?),
        Type::Signed => Value::Signed(object.to_signed()?),
        Type::Bool => Value::Bool(object.to_bool()?),
        Type::Float => Value::Float(object.to_float()?),
        Type::String => Value::String(object.to_text()?),
        Type::Bytes => Value::Bytes(object.to_bytes()?),
        Type::Char => {
            let text = object.to_text()?;
            let mut chars = text.chars();
            match (chars.next(), chars.next()) {
                (Some(only), None) => Value::Char(only),
                _ => return Err(Error::new("expected one character")),
            }
        }
        Type::List(element) => Value::List(
            object.items()?.iter().map(|item| from_python(world, element, item)).collect::<Result<_>>()?,
        ),
        Type::Record(id) => {
            let (items, types) = (object.items()?, world.fields(id));
            if items.len() != types.len() {
                return Err(Error::new(alloc::format!(
                    "expected {} fields but found {}",
                    types.len(),
                    items.len()
                )));
            }
            let fields = types.iter().zip(&items).map(|(ty, item)| from_python(world, *ty, item));
            Value::Record(fields.collect::<Result<Vec<_>>>()?)
        }
        Type::Option(_) if object.is_none() => Value::Variant(0, None),
        Type::Option(inner) => Value::Variant(1, Some(Box::new(from_python(world, inner, object)?))),
        Type::Result(ok, err) => {
            let items = object.items()?;
            let [succeeded, payload] = items.as_slice() else {
                return Err(Error::new("expected a pair of whether it succeeded, and the payload"));
            };
            let (case, inner) = if succeeded.to_bool()? { (0, ok) } else { (1, err) };
            let payload = inner.map(|inner| from_python(world, inner, payload)).transpose()?;
            Value::Variant(case, payload.map(Box::new))
        }
        Type::Variant(_) => return Err(Error::new("variants go to Python only")),
        Type::Unsupported(raw) => {
            return Err(Error::new(alloc::format!("WIT types of kind {} are not supported", raw & 0xff)));
        }
    })
}
