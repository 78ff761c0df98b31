//! The service that nginx's `auth_request` asks in the bench, as people write it today: a table of tokens, and a
//! comparison with the path. `authorizer PORT TABLE`; a line of the table: `<token> <owner>/<repository>`.

use std::collections::HashMap;
use std::convert::Infallible;
use std::fs;
use std::rc::Rc;

use anyhow::Context as _;
use http::{Request, Response, StatusCode, header};
use http_body_util::Empty;
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;
use tokio::task::{LocalSet, spawn_local};

type Table = HashMap<String, String>;

fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let port: u16 = arguments.next().context("no port")?.parse()?;
    let text = fs::read_to_string(arguments.next().context("no table")?)?;
    let row = |line: &str| line.split_once(' ').map(|(token, scope)| (token.to_owned(), scope.to_owned()));
    let table: Rc<Table> = Rc::new(text.lines().filter_map(row).collect());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    LocalSet::new().block_on(&runtime, serve(port, table))
}

async fn serve(port: u16, table: Rc<Table>) -> anyhow::Result<()> {
    let listener = TcpListener::bind(("127.0.0.1", port)).await?;
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let table = Rc::clone(&table);
        spawn_local(async move {
            let service = service_fn(|request| {
                let mut answer = Response::new(Empty::<Bytes>::new());
                *answer.status_mut() = judge(&table, &request);
                async { Ok::<_, Infallible>(answer) }
            });
            // A connection that breaks is nginx's to notice.
            drop(http1::Builder::new().serve_connection(TokioIo::new(stream), service).await);
        });
    }
}

/// 204 where the token is known and was given for the repository of the path.
fn judge(table: &Table, request: &Request<Incoming>) -> StatusCode {
    let field = |name: &str| request.headers().get(name).and_then(|value| value.to_str().ok());
    let token = field(header::AUTHORIZATION.as_str()).and_then(|value| value.strip_prefix("Bearer "));
    let Some(scope) = token.and_then(|token| table.get(token)) else {
        return StatusCode::UNAUTHORIZED;
    };
    let path = field("x-original-uri").unwrap_or_default();
    let path = path.strip_prefix("/upload").unwrap_or(path);
    let below = path.strip_prefix("/repos/").and_then(|path| path.strip_prefix(scope.as_str()));
    if below.is_some_and(|rest| rest.starts_with('/')) {
        StatusCode::NO_CONTENT
    } else {
        StatusCode::FORBIDDEN
    }
}
