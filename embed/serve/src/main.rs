//! The program: `eryx-serve [OPTION…] COMPONENT [ADDRESS]`. It ends when it is interrupted.

use std::path::PathBuf;

use eryx_embed::{Embedder, EmbedderOptions, Pool, Pooling, SessionOptions, user_cache};
use eryx_serve::{Bounds, listen, raise_file_limit, serve};

const USAGE: &str = "usage: eryx-serve [--cache DIR] [--let-native-loops-run] COMPONENT [ADDRESS]

  --cache DIR             keeps compiled code there, not in the user's cache directory
  --let-native-loops-run  guests are a fifth faster, but one with a loop in native code is never stopped
";

/// What the command line says.
struct Arguments {
    cache: Option<PathBuf>,
    bounds: Bounds,
    component: PathBuf,
    address: String,
}

fn arguments(given: impl IntoIterator<Item = String>) -> Option<Arguments> {
    let mut given = given.into_iter();
    let (mut cache, mut bounds, mut names) = (user_cache("eryx-serve"), Bounds::default(), Vec::new());
    while let Some(argument) = given.next() {
        match argument.as_str() {
            "--cache" => cache = Some(given.next()?.into()),
            "--let-native-loops-run" => bounds.guest.stop_native_code = false,
            option if option.starts_with('-') => return None,
            _ => names.push(argument),
        }
    }
    let mut names = names.into_iter();
    let (component, address) = (names.next()?, names.next().unwrap_or_else(|| "127.0.0.1:8080".to_owned()));
    names.next().is_none().then(|| Arguments { cache, bounds, component: component.into(), address })
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let Some(Arguments { cache, bounds, component, address }) = arguments(std::env::args().skip(1)) else {
        eprint!("{USAGE}");
        std::process::exit(2);
    };
    raise_file_limit();
    let pool = tokio::task::spawn_blocking(move || {
        let options = EmbedderOptions::default().cache(cache).pooling(Pooling::of(bounds.slots));
        let image = Embedder::with(options)?.load(&component)?;
        Pool::new(&image, move || SessionOptions::default().limits(bounds.guest))
    });
    let pool = pool.await??;
    let listener = listen(address, &bounds).await?;
    println!("http://{}", listener.local_addr()?);
    let shutdown = async {
        // Without a way to hear of it, the program ends at once when it is interrupted.
        let _ = tokio::signal::ctrl_c().await;
    };
    Ok(serve(listener, pool, bounds, shutdown).await?)
}
