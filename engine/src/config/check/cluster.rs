//! What `[cluster]` says of itself and of other sections.

use super::Check;

pub fn check(c: &mut Check<'_>) {
    let Some(cluster) = &c.config.cluster else { return };
    let remotes = cluster.remotes.iter().map(|remote| (remote.index, &remote.region));
    c.unique("cluster.remote", "region", remotes, "name each other region once");
    for remote in cluster.remotes.iter().filter(|remote| remote.region == cluster.region) {
        let what = format!("\"{}\" is this engine's own region", remote.region);
        c.wrong(format!("cluster.remote[{}].region", remote.index), what, "name other regions only");
    }
}
