//! A connection to a Redis server, to a cluster of them, or to the master that sentinels name.

use std::{collections::HashMap, time::Duration};

use redis::{
    AsyncConnectionConfig, Client, Cmd, ConnectionAddr, ConnectionInfo, ErrorKind, IntoConnectionInfo, Pipeline,
    RedisConnectionInfo, RedisError, RedisFuture, RedisResult, Value,
    aio::{ConnectionLike, MultiplexedConnection},
    cluster::ClusterClient,
    cluster_async::ClusterConnection,
    cmd,
};
use tokio::time::timeout;

use super::{Node, RedisSettings};

const CONNECT: Duration = Duration::from_secs(2);
/// With all that finding out takes.
const CONNECT_IN_ALL: Duration = Duration::from_secs(6);
const ANSWER: Duration = Duration::from_secs(1);

/// A connection.
pub(super) enum Link {
    One(MultiplexedConnection),
    Cluster(ClusterConnection),
}

/// What kind of server is there.
enum Mode {
    Alone,
    Cluster,
    Sentinel,
}

impl Link {
    /// Finds out what is there.
    ///
    /// # Errors
    /// None of the nodes can be used: what the last of them said.
    pub(super) async fn connect(settings: &RedisSettings) -> Result<Link, String> {
        let mut error = "there is no server".to_owned();
        for node in &settings.nodes {
            error = match timeout(CONNECT_IN_ALL, Link::by_way_of(node, settings)).await {
                Ok(Ok(link)) => return Ok(link),
                Ok(Err(error)) => format!("{node}: {error}"),
                Err(_) => format!("{node}: no connection within {CONNECT_IN_ALL:?}"),
            };
        }
        Err(error)
    }

    async fn by_way_of(node: &Node, settings: &RedisSettings) -> RedisResult<Link> {
        let mut first = match open(node, settings, Credentials::Sent).await {
            // Sentinels mostly have no password where their master has one.
            Err(error) if is_about_credentials(&error) && settings.password.is_some() => {
                match open(node, settings, Credentials::Withheld).await {
                    Ok(open) if matches!(mode(open.clone()).await, Ok(Mode::Sentinel)) => open,
                    _ => return Err(error),
                }
            }
            first => first?,
        };
        match mode(first.clone()).await? {
            Mode::Alone => Ok(Link::One(first)),
            Mode::Cluster => {
                let nodes = settings.nodes.iter().map(|node| info(node, settings, Credentials::Sent));
                let client = ClusterClient::builder(nodes.collect::<RedisResult<Vec<_>>>()?)
                    .connection_timeout(CONNECT)
                    .response_timeout(ANSWER)
                    .retries(2)
                    .build()?;
                Ok(Link::Cluster(client.get_async_connection().await?))
            }
            Mode::Sentinel => {
                let master = master(&mut first, settings).await?;
                Ok(Link::One(open(&master, settings, Credentials::Sent).await?))
            }
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Credentials {
    Sent,
    Withheld,
}

async fn open(node: &Node, settings: &RedisSettings, credentials: Credentials) -> RedisResult<MultiplexedConnection> {
    let config = AsyncConnectionConfig::new().set_connection_timeout(Some(CONNECT)).set_response_timeout(Some(ANSWER));
    let client = Client::open(info(node, settings, credentials)?)?;
    client.get_multiplexed_async_connection_with_config(&config).await
}

fn info(node: &Node, settings: &RedisSettings, credentials: Credentials) -> RedisResult<ConnectionInfo> {
    let Node { host, port } = node.clone();
    let address = if settings.tls {
        ConnectionAddr::TcpTls { host, port, insecure: false, tls_params: None }
    } else {
        ConnectionAddr::Tcp(host, port)
    };
    let mut redis = RedisConnectionInfo::default().set_skip_set_lib_name();
    if credentials == Credentials::Sent {
        redis = redis.set_db(i64::from(settings.database));
        if let Some(username) = &settings.username {
            redis = redis.set_username(username);
        }
        if let Some(password) = &settings.password {
            let text = std::str::from_utf8(password.expose());
            redis = redis.set_password(text.map_err(|_| (ErrorKind::InvalidClientConfig, "the password is not text"))?);
        }
    }
    Ok(address.into_connection_info()?.set_redis_settings(redis))
}

fn is_about_credentials(error: &RedisError) -> bool {
    error.kind() == ErrorKind::AuthenticationFailed || matches!(error.code(), Some("WRONGPASS" | "NOAUTH"))
}

/// A server that doesn't say is taken for one that is alone: users may be kept from asking.
async fn mode(mut connection: MultiplexedConnection) -> RedisResult<Mode> {
    let answer = match cmd("INFO").arg("server").query_async::<String>(&mut connection).await {
        Ok(answer) => answer,
        Err(error) if error.code() == Some("NOPERM") => return Ok(Mode::Alone),
        Err(error) => return Err(error),
    };
    let mode = answer.lines().find_map(|line| line.strip_prefix("redis_mode:").or(line.strip_prefix("server_mode:")));
    Ok(match mode.map(str::trim) {
        Some("cluster") => Mode::Cluster,
        Some("sentinel") => Mode::Sentinel,
        _ => Mode::Alone,
    })
}

async fn master(sentinel: &mut MultiplexedConnection, settings: &RedisSettings) -> RedisResult<Node> {
    let (host, port) = match &settings.master {
        Some(name) => {
            let mut ask = cmd("SENTINEL");
            let found: Option<(String, u16)> =
                ask.arg("GET-MASTER-ADDR-BY-NAME").arg(name).query_async(sentinel).await?;
            found.ok_or((ErrorKind::InvalidClientConfig, "the sentinels know no master of this name"))?
        }
        None => {
            let masters: Vec<HashMap<String, String>> = cmd("SENTINEL").arg("MASTERS").query_async(sentinel).await?;
            let [master] = masters.as_slice() else {
                let why = "the sentinels watch several masters, or none: say which with `?master=name`";
                return Err((ErrorKind::InvalidClientConfig, why).into());
            };
            let address = master.get("ip").cloned().zip(master.get("port").and_then(|port| port.parse().ok()));
            address.ok_or((ErrorKind::UnexpectedReturnType, "the sentinel doesn't say where the master is"))?
        }
    };
    Ok(Node { host, port })
}

impl ConnectionLike for Link {
    fn req_packed_command<'a>(&'a mut self, command: &'a Cmd) -> RedisFuture<'a, Value> {
        match self {
            Link::One(connection) => connection.req_packed_command(command),
            Link::Cluster(connection) => connection.req_packed_command(command),
        }
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        pipeline: &'a Pipeline,
        offset: usize,
        count: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        match self {
            Link::One(connection) => connection.req_packed_commands(pipeline, offset, count),
            Link::Cluster(connection) => connection.req_packed_commands(pipeline, offset, count),
        }
    }

    fn get_db(&self) -> i64 {
        match self {
            Link::One(connection) => connection.get_db(),
            Link::Cluster(connection) => connection.get_db(),
        }
    }
}

impl std::fmt::Display for Node {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}
