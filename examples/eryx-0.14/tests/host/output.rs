//! Output, results, tracebacks, traces, and what the embedder lends.

use eryx::TraceEventKind;

use super::{PLAIN, SANDBOX, STREAMED, printed, traceback};

#[tokio::test]
async fn output_is_kept_and_streamed() {
    let code = "import os, sys\n\
                print('streamed')\n\
                print('errors', file=sys.stderr)\n\
                sys.stdout.buffer.write(b'raw\\xff')\n\
                print(end='no end')";
    let output = SANDBOX.execute(code).await.unwrap();
    assert_eq!(output.stdout, b"streamed\nraw\xffno end");
    assert_eq!(output.stderr, b"errors\n");
    assert!(!output.stream_truncated);
    let streamed = STREAMED.lock().unwrap();
    let has = |stream: &[u8], text: &[u8]| stream.windows(text.len()).any(|window| window == text);
    assert!(has(&streamed.0, b"streamed\n") && has(&streamed.0, b"raw\xff"));
    assert!(has(&streamed.1, b"errors\n"));
}

#[tokio::test]
async fn output_below_python_is_kept_too() {
    let output =
        SANDBOX.execute("import os\nprint('above', flush=True)\nos.write(1, b'below\\n')").await.unwrap();
    assert_eq!(output.stdout_text(), "above\nbelow\n");
}

#[tokio::test]
async fn much_output_is_complete() {
    let output = PLAIN.execute("for i in range(100_000): print(i)").await.unwrap();
    assert_eq!(output.stdout.len(), 588_890);
    assert!(output.stats.fuel_consumed.unwrap() > 1_000_000);
    assert!(output.stats.peak_memory_bytes.unwrap() < 128 << 20);
}

#[tokio::test]
async fn the_result_variable_is_returned() {
    let output = SANDBOX.execute("result = {'a': [1, None, 'é']}").await.unwrap();
    assert_eq!(output.result.as_deref(), Some(r#"{"a": [1, null, "\u00e9"]}"#));
    assert_eq!(SANDBOX.execute("result = None").await.unwrap().result.as_deref(), Some("null"));
    assert_eq!(SANDBOX.execute("pass").await.unwrap().result, None);
    for wrong in ["{1}", "float('nan')", "b''", "object()"] {
        let output = SANDBOX.execute(&format!("result = {wrong}")).await.unwrap();
        let error = output.result_error.expect(wrong);
        assert!(output.result.is_none() && error.contains("not JSON-serializable"), "{error}");
    }
    let output = PLAIN.execute("answer, result = 42, 1").await.unwrap();
    assert_eq!(output.result.as_deref(), Some("42"));
}

#[tokio::test]
async fn errors_are_tracebacks_with_the_lines_of_the_user() {
    let text = traceback(SANDBOX.execute("def f():\n    return 1 / 0\n\nf()").await);
    assert!(text.contains("line 4, in <module>\n    f()\n"), "{text}");
    assert!(text.contains("line 2, in f\n    return 1 / 0\n"), "{text}");
    assert!(text.ends_with("ZeroDivisionError: division by zero\n"), "{text}");
    let text = traceback(SANDBOX.execute("x = (1,\ny = 2").await);
    assert!(text.contains("line 1\n    x = (1,\n        ^\nSyntaxError: '(' was never closed"), "{text}");
    assert_eq!(
        printed(SANDBOX.execute("import sys\nprint('before')\nsys.exit()\nprint('after')").await),
        "before\n"
    );
    assert!(traceback(SANDBOX.execute("raise SystemExit(3)").await).contains("SystemExit: 3"));
    let text = traceback(SANDBOX.execute("def f(): return f()\nf()").await);
    assert!(text.contains("RecursionError"), "{text}");
    let text = traceback(SANDBOX.execute("import json\njson.loads('[' * 100_000)").await);
    assert!(text.contains("RecursionError"), "{text}");
}

#[tokio::test]
async fn what_nobody_refers_to_ends_at_once() {
    let code = "open('/tmp/x', 'w').write('written')\nprint(open('/tmp/x').read())";
    assert_eq!(printed(PLAIN.execute(code).await), "written\n");
}

#[tokio::test]
async fn libraries_and_packages_are_there() {
    let code = "import json, lent\nprint(helped(json.dumps(lent.value)))";
    assert_eq!(printed(SANDBOX.execute(code).await), "héłp \"lent\"\n");
    // What looks like the crate's own framing is a comment.
    assert_eq!(printed(SANDBOX.execute("#eryx-preamble:6\nprint('plain')").await), "plain\n");
    assert_eq!(printed(PLAIN.execute("#eryx-preamble:6\nprint('plain')").await), "plain\n");
}

#[tokio::test]
async fn executions_are_traced() {
    let code = "def f(x):\n    return x\nf(1)\nawait echo(text='t')\ntry:\n    1 / 0\nexcept ZeroDivisionError: pass";
    let trace = SANDBOX.execute(code).await.unwrap().trace;
    let lines: Vec<u32> = trace
        .iter()
        .filter(|event| matches!(event.event, TraceEventKind::Line))
        .map(|event| event.lineno)
        .collect();
    assert_eq!(lines, [1, 3, 2, 4, 5, 6, 7], "{trace:#?}");
    let has = |wanted: &dyn Fn(&TraceEventKind) -> bool| trace.iter().any(|event| wanted(&event.event));
    assert!(has(&|kind| matches!(kind, TraceEventKind::Call { function, .. } if function == "f")));
    assert!(has(&|kind| matches!(kind, TraceEventKind::Return { function, .. } if function == "f")));
    assert!(has(&|kind| matches!(kind, TraceEventKind::CallbackStart { name, .. } if name == "echo")));
    assert!(has(&|kind| matches!(kind, TraceEventKind::CallbackEnd { name, .. } if name == "echo")));
    assert!(has(&|kind| {
        matches!(kind, TraceEventKind::Exception { message, .. } if message == "ZeroDivisionError: division by zero")
    }));
    assert_eq!(PLAIN.execute("pass").await.unwrap().trace.len(), 0);
}
