//! Sessions, and their saved state.

use eryx::{InProcessSession, PythonStateSnapshot, Session};

use super::{PLAIN, SANDBOX, printed, traceback};

#[tokio::test]
async fn a_session_keeps_its_state() {
    let mut session = InProcessSession::new(&SANDBOX).await.unwrap();
    session.execute("import math\nn = 1\ndef f():\n    return helped(n + 1)").await.unwrap();
    assert_eq!(printed(session.execute("n += 1\nprint(f(), math.pi > 3)").await), "héłp 3 True\n");
    // An error and an exit leave it as it is.
    assert!(traceback(session.execute("n = 7\nraise KeyError('x')").await).ends_with("KeyError: 'x'\n"));
    session.execute("raise SystemExit").await.unwrap();
    assert_eq!(printed(session.execute("print(n)").await), "7\n");
    // The result variable is taken, so that it is told once.
    assert_eq!(session.execute("result = n").await.unwrap().result.as_deref(), Some("7"));
    assert_eq!(session.execute("pass").await.unwrap().result, None);
    assert_eq!(session.execution_count(), 7);
    session.reset().await.unwrap();
    assert!(traceback(session.execute("n").await).contains("NameError"));
}

#[tokio::test]
async fn a_snapshot_can_be_restored_elsewhere() {
    let mut session = InProcessSession::new(&PLAIN).await.unwrap();
    let code = "import dataclasses\n\
                @dataclasses.dataclass\nclass Point:\n    x: int\n    y: list\n\
                shared = [1]\np, q = Point(1, shared), Point(2, shared)\n\
                def area(p, k=shared): return p.x * len(k)\n\
                none = None\n\
                generator = (i for i in [])";
    session.execute(code).await.unwrap();
    let snapshot = session.snapshot_state().await.unwrap();
    assert_eq!(snapshot.skipped_globals(), ["generator"]);
    let bytes = snapshot.to_bytes();

    session.clear_state().await.unwrap();
    assert!(traceback(session.execute("p").await).contains("NameError"));

    let mut other = InProcessSession::new(&PLAIN).await.unwrap();
    other.restore_state(&PythonStateSnapshot::from_bytes(&bytes).unwrap()).await.unwrap();
    let code = "shared.append(2)\nprint(p, p.y is q.y, area(q), none, 'generator' in globals())";
    assert_eq!(printed(other.execute(code).await), "Point(x=1, y=[1, 2]) True 4 None False\n");
}

#[tokio::test]
async fn a_damaged_snapshot_changes_nothing() {
    let mut session = InProcessSession::new(&PLAIN).await.unwrap();
    session.execute("n = 1").await.unwrap();
    let mut bytes = session.snapshot_state().await.unwrap().to_bytes();
    let end = bytes.len() - 4;
    bytes.truncate(end);
    let damaged = PythonStateSnapshot::from_bytes(&bytes).unwrap();
    session.restore_state(&damaged).await.unwrap_err();
    assert_eq!(printed(session.execute("print(n)").await), "1\n");
}
