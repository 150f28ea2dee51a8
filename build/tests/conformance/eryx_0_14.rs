//! The world `eryx-0.14`, with an embedder that offers what crate `eryx` does.

use eryx_build::check::Instance;

use super::{behind, embedder};

fn answer(name: &str, arguments: &str) -> Result<String, String> {
    match name {
        "echo" => Ok(arguments.to_owned()),
        _ => Err(format!("no callback `{name}`")),
    }
}

#[test]
fn the_whole_world_works() {
    let image = embedder().load(&behind("eryx-0.14")).unwrap();
    let component = image.prepare(false).unwrap();
    let start = || Instance::new(component.engine(), component, &["echo"], answer).unwrap();
    let mut one = start();

    let code = "import sys\nprint('out')\nprint('err', file=sys.stderr)\nsys.stdout.buffer.write(b'\\xff')";
    let (stdout, stderr, json, error) = one.execute(code).unwrap().unwrap();
    assert_eq!((stdout.as_slice(), stderr.as_slice()), (&b"out\n\xff"[..], &b"err\n"[..]));
    assert_eq!((json.as_str(), error.as_str()), ("", ""));
    let reported = std::mem::take(&mut one.embedding().output);
    let stream = |number: u32| -> Vec<u8> {
        reported.iter().filter(|(id, _)| *id == number).flat_map(|(_, bytes)| bytes.clone()).collect()
    };
    assert_eq!((stream(0), stream(1)), (b"out\n\xff".to_vec(), b"err\n".to_vec()), "output is streamed");

    let (.., json, _) = one.execute("result = {'a': [1, None, 'é']}").unwrap().unwrap();
    assert_eq!(json, r#"{"a": [1, null, "\u00e9"]}"#);
    one.set_result_variable("answer").unwrap();
    let (.., json, error) = one.execute("answer = {1, 2}").unwrap().unwrap();
    assert_eq!(
        (json.as_str(), error.as_str()),
        ("", "`answer` is not JSON-serializable: TypeError: Object of type set is not JSON serializable")
    );
    assert_eq!(one.execute("answer = kept = 42").unwrap().unwrap().2, "42");
    assert_eq!(one.execute("pass").unwrap().unwrap().2, "", "a result is told once");

    let code = "import asyncio\nprint(await asyncio.gather(echo(x=1), invoke('echo', '[2]'), asyncio.sleep(0.01, 3)))";
    assert_eq!(one.execute(code).unwrap().unwrap().0, b"[{'x': 1}, '[2]', 3]\n");
    assert!(!one.embedding().slept.is_empty(), "timers are the embedder's");
    let code = "try:\n    await asyncio.wait_for(asyncio.Event().wait(), 0.01)\nexcept TimeoutError:\n    print('timeout')";
    assert_eq!(one.execute(code).unwrap().unwrap().0, b"timeout\n");
    let error = one.execute("await invoke('other')").unwrap().unwrap_err();
    assert!(error.ends_with("eryx.CallbackError: no callback `other`\n"), "{error}");

    one.embedding().tracing = true;
    one.execute("def f():\n    return 1\nf()").unwrap().unwrap();
    let traced = std::mem::take(&mut one.embedding().traced);
    assert!(
        traced.iter().any(|(line, event)| *line == 2 && event.contains(r#""type": "line""#)),
        "{traced:?}"
    );
    one.embedding().tracing = false;
    one.execute("f()").unwrap().unwrap();
    assert_eq!(one.embedding().traced, [], "tracing is asked for anew each time");

    let (data, skipped) = {
        one.execute("gen = (x for x in [])\nfile = open('/tmp/x', 'w')").unwrap().unwrap();
        one.snapshot_state().unwrap().unwrap()
    };
    assert_eq!(skipped, ["file", "gen"]);
    let mut other = start();
    other.restore_state(data).unwrap().unwrap();
    assert_eq!(other.execute("print(kept, f())").unwrap().unwrap().0, b"42 1\n");
    assert!(other.restore_state(b"nonsense".to_vec()).unwrap().is_err());
    other.clear_state().unwrap();
    assert!(other.execute("kept").unwrap().unwrap_err().contains("NameError"));
}

#[test]
fn pre_initialisation_ends_once_and_what_is_random_begins_anew() {
    let image = embedder().load(&behind("eryx-0.14")).unwrap();
    let component = image.prepare(false).unwrap();
    let mut one = Instance::new(component.engine(), component, &["echo"], answer).unwrap();
    let ok = |one: &mut Instance, code: &str| match one.execute(code).unwrap() {
        Ok((stdout, ..)) => String::from_utf8(stdout).unwrap(),
        Err(traceback) => panic!("{code}\n{traceback}"),
    };
    ok(
        &mut one,
        "import random, sys\nrandom.seed(1)\nx = [1]\nexpected = random.Random(1).random()\nown = random.Random(1)",
    );
    one.finalize_preinit().unwrap();
    let code = "print(x, random.random() == expected, own.random() == expected, await echo(y=2))";
    assert_eq!(ok(&mut one, code), "[1] False False {'y': 2}\n");
    ok(&mut one, "random.seed(1)\nkept = open('/tmp/kept', 'w')\nkept.write('text')");
    // An instance that lives keeps its files and streams.
    one.finalize_preinit().unwrap();
    let code = "kept.close()\nprint(open('/tmp/kept').read(), random.random() == expected)";
    assert_eq!(ok(&mut one, code), "text True\n");
}

#[test]
fn code_is_as_in_that_crate_s_own_runtime() {
    let image = embedder().load(&behind("eryx-0.14")).unwrap();
    let component = image.prepare(false).unwrap();
    let mut one = Instance::new(component.engine(), component, &["echo", "search.all"], answer).unwrap();
    let mut printed = |code: &str| match one.execute(code).unwrap() {
        Ok((stdout, ..)) => String::from_utf8(stdout).unwrap(),
        Err(traceback) => traceback,
    };
    // Without `await`, too, the session's loop runs.
    let code = "import asyncio\nloop = asyncio.get_running_loop()\nprint(loop.is_running(), asyncio.run(asyncio.sleep(0, 1)))";
    assert_eq!(printed(code), "True 1\n");
    assert_eq!(printed("await asyncio.sleep(0)\nprint(asyncio.get_running_loop() is loop)"), "True\n");
    for (code, text) in [("'bye'", "SystemExit: bye"), ("3", "SystemExit: 3"), ("[1]", "SystemExit: [1]")] {
        assert_eq!(printed(&format!("import sys; sys.exit({code})")), text);
    }
    let code = "import io, sys\nfor stream in sys.stdout, sys.stderr:\n    try: stream.fileno()\n    except io.UnsupportedOperation as error: print(error)";
    assert_eq!(printed(code), "fileno\nfileno\n");
    assert_eq!(printed("print(await search.all(b=1, a=2) if False else search.all.__name__)"), "all\n");
    let code = "class E:\n    def __reduce__(self): raise SystemExit('the end')\ne = E()";
    assert_eq!(printed(code), "");
    let error = one.snapshot_state().unwrap().unwrap_err();
    assert!(error.ends_with("SystemExit: the end"), "{error}");

    one.embedding().tracing = true;
    one.execute("x = await echo(a=1)").unwrap().unwrap();
    let kinds: Vec<(u32, String)> = std::mem::take(&mut one.embedding().traced)
        .into_iter()
        .map(|(line, event)| {
            let event: serde_json::Value = serde_json::from_str(&event).unwrap();
            (line, event["type"].as_str().unwrap().to_owned())
        })
        .collect();
    let told: Vec<(u32, &str)> = kinds.iter().map(|(line, kind)| (*line, kind.as_str())).collect();
    assert_eq!((told[0], told[1]), ((0, "call"), (1, "line")), "{told:?}");
    assert_eq!(told.last(), Some(&(1, "return")), "{told:?}");
}
