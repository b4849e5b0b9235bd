//! What `[mirror]` needs of other sections.

use super::Check;

pub fn check(c: &mut Check<'_>) {
    if c.config.mirror.is_none() {
        return;
    }
    if c.config.ha.is_none() {
        let remedy = "write [ha] with the other engine of the site as its peer, or remove [mirror]";
        c.wrong("mirror", "there is nobody to mirror to", remedy);
    }
    if c.config.control.is_none() {
        c.wrong("mirror", "travels over [control], which is missing", "write [control], or remove [mirror]");
    }
}
