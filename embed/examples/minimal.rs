//! The least that embeds Python: `cargo run --release --example minimal dist/python.wasm 'print(await greet(name="you"))'`.

use eryx_embed::{
    Callback, Embedder, EmbedderOptions, Error, Limits, Pool, Pooling, SessionOptions, user_cache,
};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let (component, code) = arguments.next().zip(arguments.next()).ok_or("expected a component and code")?;
    let options = EmbedderOptions::default().cache(user_cache("eryx-minimal")).pooling(Pooling::of(10));
    let image = Embedder::with(options)?.load(component.as_ref())?;
    let schema = r#"{"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]}"#;
    let greet = Callback::new("greet", "Greets somebody.", schema, |arguments| async move {
        let given: serde_json::Value = serde_json::from_str(&arguments).map_err(|error| error.to_string())?;
        Ok(serde_json::json!(format!("hello, {}", given["name"].as_str().unwrap_or("you"))).to_string())
    });
    let pool = Pool::new(&image, move || {
        SessionOptions::default().callbacks(vec![greet.clone()]).limits(Limits::untrusted())
    })?;
    match pool.execute_fresh(&code) {
        Ok(printed) => print!("{printed}"),
        Err(Error::Raised(traceback)) => eprint!("{traceback}"),
        Err(error) => return Err(error.into()),
    }
    Ok(())
}
