//! Listens, accepts connections, and ends without losing a request.

use std::future::Future;
use std::net::{SocketAddr, TcpListener};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpStream;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::{sleep, timeout};
use tokio_io_timeout::TimeoutStream;

use crate::app::App;
use crate::error::Error;
use crate::meter;
use crate::models::{Models, Source};
use crate::queue::Limits;
use crate::routes;
use crate::settings::Settings;
use crate::tools::cvat;

/// The time for the head of a request, and between two requests of a connection.
const HEAD_TIMEOUT: Duration = Duration::from_secs(15);

/// The longest head of a request in bytes.
const MAX_HEAD: usize = 64 << 10;

/// The longest time limit and delay that make sense.
const DAY: Duration = Duration::from_secs(86_400);

/// How often what was measured is summed up.
const UPKEEP: Duration = Duration::from_secs(5);

/// The time in which a client must take some of its answer.
const UNREAD: Duration = Duration::from_secs(30);

/// How long requests are served after the server was told to end, since they may have been sent before; and how long a refusal
/// may take.
const LAST: Duration = Duration::from_millis(250);

/// The threads that read and write connections. The network has threads of its own.
const WORKERS: usize = 2;

/// The threads that decode, encode and fetch.
const BLOCKING: usize = 64;

/// A server that listens, and has not yet accepted anything.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    app: App,
    router: Router,
    runtime: Runtime,
}

impl Server {
    /// Listens at the address of the settings. The models are loaded from `source` by [`run`](Self::run); the first is used
    /// by requests that name none.
    ///
    /// # Errors
    /// [`Error::Listen`] where the address cannot be had, [`Error::Setting`] for settings that cannot be used.
    pub fn bind(settings: Settings, models: Vec<String>, source: impl Source) -> Result<Self, Error> {
        if models.is_empty() {
            return Err(Error::Setting("name at least one model".into()));
        }
        if let Some(twice) = models.iter().enumerate().find(|(index, name)| models[..*index].contains(name)) {
            return Err(Error::Setting(format!("the model `{}` is named twice", twice.1)));
        }
        if let Some((one, other)) = cvat::alike(&models) {
            let way_out = format!("give one of them another name, as in `--model NAME={other}`");
            return Err(Error::Setting(format!(
                "CVAT could not tell the models `{one}` and `{other}` apart: {way_out}"
            )));
        }
        let address = settings.listen;
        let listener = TcpListener::bind(address).map_err(|source| Error::Listen { address, source })?;
        listener.set_nonblocking(true)?;
        let Settings { max_queue, max_batch, max_delay, timeout, .. } = settings;
        let limits = Limits { places: max_queue.max(1), batch: max_batch.max(1), delay: max_delay.min(DAY) };
        let settings = Settings { listen: listener.local_addr()?, timeout: timeout.min(DAY), ..settings };
        let app = App::new(settings, Arc::new(Models::new(models, Box::new(source), limits)));
        let router = routes::router(app.clone())?;
        let runtime =
            Builder::new_multi_thread().worker_threads(WORKERS).max_blocking_threads(BLOCKING).enable_all().build()?;
        Ok(Self { listener, app, router, runtime })
    }

    /// The address that it listens at.
    pub fn address(&self) -> SocketAddr {
        self.app.settings.listen
    }

    /// Loads the models, and serves until `stop` ends. Then it answers the requests that have begun, refuses others with 503,
    /// and returns.
    ///
    /// `stop` is made within the server's runtime, so that it may wait for signals.
    ///
    /// # Errors
    /// [`Error::Models`] where a model cannot be loaded, [`Error::System`] where the system refuses a thread.
    pub fn run<S: Future<Output = ()>>(self, stop: impl FnOnce() -> S) -> Result<(), Error> {
        let Self { listener, app, router, runtime } = self;
        meter::handle();
        let (loaded, all_loaded) = oneshot::channel();
        app.models.clone().load_all(move |all| {
            // Nobody waits for it if the server has ended.
            let _ = loaded.send(all);
        })?;
        let served = runtime.block_on(async {
            let listener = tokio::net::TcpListener::from_std(listener)?;
            tokio::spawn(async {
                loop {
                    sleep(UPKEEP).await;
                    meter::handle().run_upkeep();
                }
            });
            let failed = async {
                if all_loaded.await == Ok(true) {
                    std::future::pending::<()>().await;
                }
            };
            let mut has_failed = false;
            let end = async {
                tokio::select! {
                    () = stop() => {}
                    () = failed => has_failed = true,
                }
            };
            serve(listener, &app, router, end).await;
            if has_failed { Err(Error::Models) } else { Ok(()) }
        });
        // Threads that still compute what nobody waits for are left behind.
        runtime.shutdown_timeout(Duration::from_millis(100));
        served
    }
}

async fn serve(listener: tokio::net::TcpListener, app: &App, router: Router, stop: impl Future<Output = ()>) {
    let most = app.settings.max_connections.clamp(1, Semaphore::MAX_PERMITS.min(u32::MAX as usize));
    let permits = Arc::new(Semaphore::new(most));
    let begin = |(stream, permit): Accepted, lasting: Option<&GracefulShutdown>| {
        meter::connections(most - permits.available_permits());
        let service = TowerToHyperService::new(router.clone());
        let mut stream = TimeoutStream::new(stream);
        stream.set_write_timeout(Some(UNREAD));
        let mut http = http1::Builder::new();
        // A client that closes its sending side counts as gone, and its request is dropped.
        http.timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT).half_close(false).max_buf_size(MAX_HEAD);
        let connection = http.keep_alive(lasting.is_some()).serve_connection(TokioIo::new(Box::pin(stream)), service);
        let connection: Pin<Box<dyn Future<Output = hyper::Result<()>> + Send>> = match lasting {
            Some(connections) => Box::pin(connections.watch(connection)),
            None => Box::pin(connection),
        };
        let permits = permits.clone();
        tokio::spawn(async move {
            // Clients that hang up or send nonsense are no news.
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection ended early");
            }
            drop(permit);
            meter::connections(most - permits.available_permits());
        });
    };
    let connections = GracefulShutdown::new();
    let serve = |accepted| begin(accepted, Some(&connections));
    tokio::select! {
        () = accept_all(&listener, &permits, serve) => {}
        () = stop => {}
    }
    tracing::info!("the server ends: requests that have begun are answered, others are refused");
    app.drain();
    // Connections that the system has made already, and whose requests may have been sent.
    let _: Result<(), _> = timeout(LAST, accept_all(&listener, &permits, serve)).await;
    app.refuse();
    // Whoever comes now is told to go elsewhere, instead of finding nobody.
    let refused = accept_all(&listener, &permits, |accepted| begin(accepted, None));
    let answered = async {
        // A connection of which nothing has been read yet would be closed without a word.
        sleep(LAST).await;
        if timeout(app.settings.timeout + HEAD_TIMEOUT, connections.shutdown()).await.is_err() {
            tracing::warn!("some connections did not end in time");
        }
    };
    tokio::select! {
        () = answered => {}
        () = refused => {}
    }
    // Those for whom there was no permit until now.
    let _: Result<(), _> = timeout(LAST, accept_all(&listener, &permits, |accepted| begin(accepted, None))).await;
    drop(listener);
    // Those who came last have got their refusals when all permits are back, or are not worth waiting for.
    let _: Result<_, _> = timeout(LAST, permits.acquire_many(most as u32)).await;
}

/// A connection, and one of the permits for all of them.
type Accepted = (TcpStream, OwnedSemaphorePermit);

/// Accepts connections for as long as it is waited for.
async fn accept_all(listener: &tokio::net::TcpListener, permits: &Arc<Semaphore>, begin: impl Fn(Accepted)) {
    loop {
        if let Some(accepted) = accept(listener, permits).await {
            begin(accepted);
        }
    }
}

/// Accepts a connection, when there are fewer than the most.
async fn accept(listener: &tokio::net::TcpListener, permits: &Arc<Semaphore>) -> Option<Accepted> {
    let permit = permits.clone().acquire_owned().await.ok()?;
    match listener.accept().await {
        Ok((stream, _)) => {
            // Answers are written at once, and need not be collected.
            let _ = stream.set_nodelay(true);
            Some((stream, permit))
        }
        Err(error) => {
            // Such as too many open files: others will be closed.
            tracing::warn!(%error, "a connection could not be accepted");
            sleep(Duration::from_millis(50)).await;
            None
        }
    }
}
