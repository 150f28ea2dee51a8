//! pandas: that it builds, passes its check, and that frames survive a snapshot.
#![cfg(feature = "e2e")]

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use eryx_build::layout::Layout;
use eryx_embed::{Embedder, Image, Session, SessionOptions};

/// Builds the component, whose last step tries the package, and loads it.
fn image() -> Image {
    let checkout = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_eryx-build"));
    let output =
        command.args(["bundle", "pandas"]).current_dir(&checkout).stdin(Stdio::null()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let component: PathBuf = checkout.join("dist/pandas.wasm");
    Embedder::new(Some(&Layout::cache_folder().unwrap())).unwrap().load(&component).unwrap()
}

#[track_caller]
fn ok(session: &mut Session, code: &str) -> String {
    session
        .execute(code)
        .unwrap_or_else(|failure| panic!("{code}\n{failure}"))
        .unwrap_or_else(|traceback| panic!("{code}\n{traceback}"))
}

#[test]
fn frames_survive_a_snapshot_and_are_compact() {
    let image = image();
    let start = || image.session(SessionOptions::default()).unwrap_or_else(|failure| panic!("{failure}"));
    let mut one = start();
    let made = "import numpy as np, pandas as pd
n = 100_000
rng = np.random.default_rng(7)
frame = pd.DataFrame({
    'id': np.arange(n), 'value': rng.standard_normal(n), 'flag': rng.random(n) < 0.5,
    'when': pd.date_range('2026-01-01', periods=n, freq='min', tz='Europe/Oslo'),
    'kind': pd.Categorical.from_codes(rng.integers(0, 3, n), ['a', 'b', 'c']),
})
frame.attrs['source'] = 'test'
print(int(frame.memory_usage(index=True).sum()))";
    let size: usize = ok(&mut one, made).trim().parse().unwrap();
    let data = one.snapshot_state().unwrap().unwrap_or_else(|error| panic!("{error}"));
    assert!(data.len() < size + size / 20, "{} bytes for a frame of {size}", data.len());

    let more = "column = frame['value']
grouped = frame.groupby('kind', observed=True)
total = grouped['value'].sum()
table = frame.head(6).set_index(['kind', 'id'])
names = pd.Series(['é', None, 'bc'], dtype='str')
def above(limit):
    return int((frame['value'] > limit).sum())";
    ok(&mut one, more);
    let expected = ok(&mut one, "print(above(1), total.to_dict(), pd.util.hash_pandas_object(frame).sum())");
    let data = one.snapshot_state().unwrap().unwrap_or_else(|error| panic!("{error}"));
    // The views that share the frame's memory are saved with what they show.
    assert!(data.len() < 2 * size, "{} bytes for a frame of {size}", data.len());

    let mut other = start();
    other.restore_state(&data).unwrap().unwrap_or_else(|error| panic!("{error}"));
    let again = ok(&mut other, "print(above(1), total.to_dict(), pd.util.hash_pandas_object(frame).sum())");
    assert_eq!(again, expected);
    let checked = "assert frame.dtypes.astype(str).tolist() == ['int64', 'float64', 'bool', 'datetime64[us, Europe/Oslo]', 'category'], frame.dtypes
assert frame.attrs == {'source': 'test'} and frame['when'].iloc[-1].utcoffset() is not None
assert table.index.names == ['kind', 'id'] and names.isna().tolist() == [False, True, False]
assert grouped['value'].sum().equals(total) and frame['value'].equals(column)
frame.loc[0, 'value'] = 5.0
assert above(4.9) >= 1 and column.iloc[0] != 5.0
print('good')";
    assert_eq!(ok(&mut other, checked), "good\n");
}
