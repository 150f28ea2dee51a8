//! The program: `eryx-serve COMPONENT [ADDRESS]`. It ends when it is interrupted.

use eryx_embed::{Embedder, EmbedderOptions, Pool, Pooling, SessionOptions};
use eryx_serve::{Bounds, listen, serve};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let component = arguments.next().ok_or("expected a component")?;
    let bounds = Bounds::default();
    let pool = tokio::task::spawn_blocking(move || {
        let embedder = Embedder::with(EmbedderOptions {
            cache: Some(std::env::temp_dir().join("eryx-serve")),
            pooling: Some(Pooling::of(bounds.slots)),
            ..EmbedderOptions::default()
        })?;
        Pool::new(&embedder.load(component.as_ref())?, SessionOptions::default)
    });
    let pool = pool.await??;
    let listener = listen(arguments.next().as_deref().unwrap_or("127.0.0.1:8080"), &bounds).await?;
    println!("http://{}", listener.local_addr()?);
    let shutdown = async {
        // Without a way to hear of it, the program ends at once when it is interrupted.
        let _ = tokio::signal::ctrl_c().await;
    };
    Ok(serve(listener, pool, bounds, shutdown).await?)
}
