//! Callbacks, and the event loop that waits for them.

use std::time::{Duration, Instant};

use super::{SANDBOX, printed, traceback};

#[tokio::test]
async fn callbacks_are_functions() {
    let code = "print(await echo(text='é'), await invoke('echo', '{\"text\": 1}'))\nhelp(echo)";
    let text = printed(SANDBOX.execute(code).await);
    assert!(text.starts_with("é 1\n"), "{text}");
    assert!(text.contains("Gives back its text.") && text.contains("What to give back."), "{text}");
    assert_eq!(SANDBOX.execute(code).await.unwrap().stats.callback_invocations, 2);
}

#[tokio::test]
async fn many_are_under_way_at_once_and_answer_in_any_order() {
    let code = "import asyncio\n\
                order = []\n\
                async def one(ms):\n    order.append(await later(ms=ms))\n\
                await asyncio.gather(*map(one, (400, 10, 200)))\n\
                print(order)\n\
                async with asyncio.TaskGroup() as group:\n    tasks = [group.create_task(echo(text=str(i))) for i in range(200)]\n\
                print([task.result() for task in tasks] == [str(i) for i in range(200)])";
    let begin = Instant::now();
    let text = printed(SANDBOX.execute(code).await);
    assert_eq!(text, "[10, 200, 400]\nTrue\n");
    assert!(begin.elapsed() < Duration::from_secs(20));
}

#[tokio::test]
async fn errors_are_raised() {
    let code = "for call in fail(), invoke('nobody', '{}'):\n\
                \x20   try:\n        await call\n    except Exception as error:\n        print(type(error).__name__, error)";
    let text = printed(SANDBOX.execute(code).await);
    assert!(text.starts_with("CallbackError execution failed: no such row\nCallbackError "), "{text}");
    let text = traceback(SANDBOX.execute("await fail()").await);
    assert!(
        text.contains("line 1") && text.ends_with("CallbackError: execution failed: no such row\n"),
        "{text}"
    );
    let text = traceback(SANDBOX.execute("await echo(text=1)").await);
    assert!(text.contains("TypeError"), "{text}");
}

#[tokio::test]
async fn one_that_never_answers_holds_nobody_up() {
    let code = "import asyncio\n\
                try:\n    await asyncio.wait_for(never(), 0.05)\nexcept TimeoutError:\n    print('timeout')\n\
                task = asyncio.ensure_future(never())\n\
                print(await echo(text='other'), await asyncio.sleep(0.01, 'slept'))\n\
                task.cancel()\n\
                try:\n    await task\nexcept asyncio.CancelledError:\n    print('cancelled')";
    assert_eq!(printed(SANDBOX.execute(code).await), "timeout\nother slept\ncancelled\n");
}

#[tokio::test]
async fn asyncio_run_works() {
    let code =
        "import asyncio\nasync def main():\n    return await echo(text='run')\nprint(asyncio.run(main()))";
    assert_eq!(printed(SANDBOX.execute(code).await), "run\n");
}
