//! pandas: what code may rely on, and frames in snapshots.

use super::snapshot::moves;
use super::{Limits, SessionOptions, Variant, ok, raised, run};

static PANDAS: Variant = Variant::new(&["pandas"], true);

#[test]
fn table() {
    run(&PANDAS, "pandas.toml");
}

#[test]
fn frames_come_back_equal() {
    moves(
        &PANDAS,
        "import numpy as np, pandas as pd
def make():
    return pd.DataFrame({
        'int': [1, 2, 3],
        'float': [1.5, np.nan, -np.inf],
        'bool': [True, False, True],
        'string': ['é', None, ''],
        'object': [{'a': [1]}, None, (1, 'x')],
        'category': pd.Categorical(['b', None, 'a'], categories=['a', 'b', 'c'], ordered=True),
        'when': pd.to_datetime(['2026-03-29 00:30', None, '2026-10-25 00:30'], utc=True).tz_convert('Europe/Oslo'),
        'naive': pd.to_datetime(['2026-03-29', None, '1677-09-22']),
        'delta': pd.to_timedelta(['1h', None, '-1ns']),
        'period': pd.period_range('2026-01', periods=3, freq='M'),
        'nullable': pd.array([1, None, 2**62], dtype='Int64'),
        'sparse': pd.arrays.SparseArray([0.0, 0.0, 1.0], fill_value=0.0),
        'interval': pd.IntervalIndex.from_breaks([0, 1, 2, 3]),
    }, index=pd.MultiIndex.from_tuples([('x', 1), ('x', 2), ('y', 1)], names=['letter', None]))
frame = make()
frame.attrs['source'] = 'here'
frame.flags.allows_duplicate_labels = False
wide = frame[['int', 'float', 'when']].unstack()
series = frame['category'].rename('named')
indexes = [pd.RangeIndex(3, 30, 9), pd.date_range('2026-01-30', periods=3, freq='ME', tz='Asia/Kolkata'),
           pd.CategoricalIndex(['a', 'b', 'a']), pd.Index([1.5, 2]), pd.Index(['a', None]), pd.Index([])]
scalars = [pd.Timestamp('2026-03-29 03:30', tz='Europe/Oslo'), pd.NaT, pd.NA, pd.Timedelta('1h'),
           pd.Period('2026Q1'), pd.Interval(0, 1, closed='left'), pd.offsets.BMonthEnd(2)]
empty = pd.DataFrame()
grouped = frame.groupby('category', observed=True)['int']
rolling = pd.Series(range(5)).rolling(2)
class Named(pd.DataFrame):
    _metadata = ['label']
    @property
    def _constructor(self):
        return Named
named = Named({'a': [1]})
named.label = 'mine'
",
        "import pandas as pd
expected = make()
expected.flags.allows_duplicate_labels = False
pd.testing.assert_frame_equal(frame, expected, check_exact=True, check_freq=True)
assert frame.attrs == {'source': 'here'} and frame.flags.allows_duplicate_labels is False
assert frame.dtypes.astype(str).to_dict() == expected.dtypes.astype(str).to_dict(), frame.dtypes
assert frame['object'].iloc[0] == {'a': [1]} and frame['object'].iloc[1] is None
assert [when.utcoffset().seconds for when in frame['when'].dropna()] == [3600, 7200]
pd.testing.assert_frame_equal(wide, expected[['int', 'float', 'when']].unstack())
pd.testing.assert_series_equal(series, expected['category'].rename('named'))
again = [pd.RangeIndex(3, 30, 9), pd.date_range('2026-01-30', periods=3, freq='ME', tz='Asia/Kolkata'),
         pd.CategoricalIndex(['a', 'b', 'a']), pd.Index([1.5, 2]), pd.Index(['a', None]), pd.Index([])]
for index, other in zip(indexes, again, strict=True):
    pd.testing.assert_index_equal(index, other, exact=True)
assert indexes[1].freq == again[1].freq and str(indexes[1].tz) == 'Asia/Kolkata'
assert scalars[1] is pd.NaT and scalars[2] is pd.NA and scalars[0].hour == 3 and scalars[6].n == 2
assert scalars[3:6] == [pd.Timedelta('1h'), pd.Period('2026Q1'), pd.Interval(0, 1, closed='left')]
assert empty.empty and grouped.sum().to_dict() == {'a': 3, 'b': 1} and rolling.sum().iloc[-1] == 7
assert type(named) is Named and type(named.head()) is Named and named.label == 'mine'
frame.loc[('x', 1), 'int'] = 9
assert frame.groupby(level='letter')['int'].sum().to_dict() == {'x': 11, 'y': 3}
assert frame['when'].dt.tz_convert('UTC').dt.hour.iloc[0] == 0",
    );
}

#[test]
fn shared_frames_stay_shared() {
    moves(
        &PANDAS,
        "import pandas as pd
frame = pd.DataFrame({'a': [1, 2], 'o': [None, None]}, index=pd.Index(['x', 'y'], name='key'))
same = frame
held = {'frame': frame, 'list': [frame, (frame,)]}
index = frame.index
thing = ['thing']
frame.at['x', 'o'] = thing
frame.at['y', 'o'] = thing
def total():
    return int(frame['a'].sum())
class Holder:
    def __init__(self, frame):
        self.frame = frame
holder = Holder(frame)
column = frame['a']
",
        "assert same is frame is held['frame'] is held['list'][0] is held['list'][1][0] is holder.frame
assert frame.index is index and frame['o'].iloc[0] is frame['o'].iloc[1] is thing
same.loc['x', 'a'] = 40
assert total() == 42 and held['frame'].at['x', 'a'] == 40
# Copies on write: what one shows does not change with the other.
assert column.tolist() == [1, 2]",
    );
}

#[test]
fn frames_take_their_own_size() {
    let mut one = PANDAS.start();
    let code = "import numpy as np, pandas as pd
frame = pd.DataFrame(np.random.default_rng(7).standard_normal((100_000, 10)), columns=list('abcdefghij'))
print(frame.to_numpy().nbytes)";
    let raw: usize = ok(&mut one, code).trim().parse().unwrap();
    assert_eq!(raw, 8_000_000);
    let data = one.snapshot_state().unwrap();
    assert!(data.len() <= raw + raw / 20, "{} bytes for a frame of {raw}", data.len());
    let mut other = PANDAS.start();
    other.restore_state(&data).unwrap();
    let again = "print(pd.util.hash_pandas_object(frame).sum(), frame.dtypes.nunique(), frame.shape)";
    assert_eq!(ok(&mut other, &format!("import pandas as pd\n{again}")), ok(&mut one, again));

    // One column of each compact kind, a frame of many types, and the same frame three times.
    let code = "n = 1_000_000
frame = pd.DataFrame({'a': np.arange(n, dtype='f8')})
other = pd.DataFrame({
    'id': np.arange(n), 'flag': np.arange(n) % 3 == 0, 'small': np.arange(n, dtype='i2'),
    'when': pd.date_range('2026-01-01', periods=n, freq='min', tz='Europe/Oslo'),
    'kind': pd.Categorical.from_codes(np.arange(n) % 3, ['a', 'b', 'c']),
    'maybe': pd.array(np.arange(n), dtype='Int32')})
same = [frame, other]
print(int(sum(one.memory_usage(index=True).sum() for one in same)))";
    let raw: usize = ok(&mut one, code).trim().parse().unwrap();
    let data = one.snapshot_state().unwrap();
    assert!(raw > 25_000_000 && data.len() <= raw + raw / 20, "{} bytes for frames of {raw}", data.len());
    other.restore_state(&data).unwrap();
    let again = "print(frame['a'].sum(), same[0] is frame, other.dtypes.astype(str).tolist(), other['when'].iloc[-1], int(other['id'].sum()))";
    assert_eq!(ok(&mut other, again), ok(&mut one, again));
}

#[test]
fn memory_that_runs_out_raises() {
    let limits = Limits::default().max_memory(Some(512 << 20));
    let mut session = PANDAS.start_with(SessionOptions::default().limits(limits));
    for code in [
        "pd.DataFrame(np.ones((10_000, 10_000)))",
        "pd.Series(range(100_000_000))",
        "pd.DataFrame({'a': range(20_000)}).merge(pd.DataFrame({'b': range(20_000)}), how='cross')",
        "pd.MultiIndex.from_product([range(10_000), range(100_000)]).to_frame()",
        "pd.concat([pd.Series(np.ones(10_000_000))] * 20)",
        "pd.read_csv(io.StringIO('a,b\\n' + 'x,' * 100_000_000))",
        "pd.Series(['x' * 1000] * 1_000_000).str.cat(['y' * 1000] * 1_000_000)",
    ] {
        let code = format!("import io, numpy as np, pandas as pd\n{code}");
        let error = raised(&mut session, &code);
        assert!(error.contains("MemoryError"), "{code}\n{error}");
        session.clear_state().unwrap();
    }
    assert_eq!(ok(&mut session, "print('alive')"), "alive\n");
}
