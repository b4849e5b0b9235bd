//! Binds the installed DPDK: bindgen over `wrapper.h`, its static inline functions compiled as C. On x86-64 also
//! Intel's multi-buffer crypto library, which DPDK's own crypto drivers stand on.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, exit};

const OLDEST: &str = "22.11";
const INSTALL: &str = "apt-get install libdpdk-dev libipsec-mb-dev libclang-dev pkg-config";

/// The libraries whose symbols this crate refers to. They pull in what they need themselves, and
/// EAL loads the drivers from its plugin folder. `rte_log` exists from 24.03 on.
const LIBRARIES: [&str; 6] = ["rte_eal", "rte_ethdev", "rte_mbuf", "rte_mempool", "rte_ring", "rte_log"];

const FUNCTIONS: [&str; 10] = [
    "rte_(eal_init|eal_cleanup|eal_remote_launch|eal_wait_lcore|eal_get_lcore_state|strerror|version)",
    "rte_(get_tsc_hz|rdtsc|lcore_to_socket_id)",
    "rte_pktmbuf_(pool_create|alloc|alloc_bulk|free|free_bulk|linearize)",
    "rte_mempool_avail_count",
    "rte_ring_(create|free|sp_enqueue_burst|sc_dequeue_burst)",
    "rte_eth_dev_(get_port_by_name|get_name_by_port|is_valid_port|info_get|configure|start|stop|close)",
    "rte_eth_dev_(adjust_nb_rx_tx_desc|set_mtu|get_mtu|socket_id|mac_addr_add)",
    "rte_eth_(rx|tx)_(queue_setup|burst)",
    "rte_eth_(macaddr_get|promiscuous_(enable|disable)|allmulticast_enable|stats_get|xstats_get|xstats_get_names)",
    "dpdk_sys_.*",
];

const CONSTANTS: [&str; 5] = [
    "(RX|OFFLOAD|RSS)_[A-Z0-9_]+",
    "RTE_(MAX_ETHPORTS|ETH_NAME_MAX_LEN)",
    "RING_F_S[PC]_(ENQ|DEQ)",
    "RTE_ETH_MQ_RX_RSS",
    "SOCKET_ID_ANY",
];

fn main() {
    for variable in ["LIBCLANG_PATH", "PKG_CONFIG", "PKG_CONFIG_PATH"] {
        println!("cargo::rerun-if-env-changed={variable}");
    }
    println!("cargo::rerun-if-changed=wrapper.h");
    println!("cargo::rerun-if-changed=ipsec_mb.h");
    println!("cargo::rerun-if-changed=build.rs");

    let flags = link_dpdk().unwrap_or_else(|why| fail(&format!("DPDK {OLDEST} or later"), &why));
    pin_libclang();
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets OUT_DIR"));
    let wrappers = out.join("wrappers.c");
    bind(&flags, &wrappers, &out.join("bindings.rs"));
    compile(&flags, &wrappers);
    // Built for and packaged on this architecture only.
    if env::var("CARGO_CFG_TARGET_ARCH").is_ok_and(|arch| arch == "x86_64") {
        bind_ipsec_mb(&out.join("ipsec_mb.rs"));
    }
}

fn fail(what: &str, why: &str) -> ! {
    println!("cargo::error={what} is needed to build dpdk-sys. On Debian: {INSTALL}");
    for line in why.lines().filter(|line| !line.trim().is_empty()) {
        println!("cargo::error={}", line.trim());
    }
    exit(1)
}

/// Tells cargo what to link and returns the C flags.
fn link_dpdk() -> Result<Vec<String>, String> {
    let found = pkg_config::Config::new()
        .atleast_version(OLDEST)
        .cargo_metadata(false)
        .env_metadata(true)
        .probe("libdpdk")
        .map_err(|error| error.to_string())?;
    for path in &found.link_paths {
        println!("cargo::rustc-link-search=native={}", path.display());
    }
    for library in found.libs.iter().filter(|library| LIBRARIES.contains(&library.as_str())) {
        println!("cargo::rustc-link-lib=dylib={library}");
    }
    // The crate drops `-include rte_config.h` and `-march`, without which the headers do not compile.
    let tool = env::var("PKG_CONFIG").unwrap_or_else(|_| "pkg-config".into());
    let output =
        Command::new(tool).args(["--cflags", "libdpdk"]).output().map_err(|error| error.to_string())?;
    Ok(String::from_utf8_lossy(&output.stdout).split_whitespace().map(str::to_owned).collect())
}

/// A libclang without its own headers (`stddef.h`) cannot parse anything: where several LLVM
/// versions are installed, take the newest that has them.
fn pin_libclang() {
    if env::var_os("LIBCLANG_PATH").is_some() {
        return;
    }
    if let Some(path) = complete_llvm(Path::new("/usr/lib")) {
        // SAFETY: a build script is single-threaded here.
        unsafe { env::set_var("LIBCLANG_PATH", path) };
    }
}

fn complete_llvm(root: &Path) -> Option<PathBuf> {
    let version = |path: &Path| path.file_name()?.to_str()?.strip_prefix("llvm-")?.parse::<u32>().ok();
    let mut found: Vec<(u32, PathBuf)> = entries(root)
        .filter_map(|path| Some((version(&path)?, path.join("lib"))))
        .filter(|(_, lib)| has_headers(lib) && has_libclang(lib))
        .collect();
    found.sort();
    found.pop().map(|(_, lib)| lib)
}

fn has_headers(lib: &Path) -> bool {
    entries(&lib.join("clang")).any(|version| version.join("include/stddef.h").is_file())
}

fn has_libclang(lib: &Path) -> bool {
    entries(lib).any(|file| {
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        name.starts_with("libclang.so") || (name.starts_with("libclang-") && name.contains(".so"))
    })
}

fn entries(folder: &Path) -> impl Iterator<Item = PathBuf> {
    fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path())
}

fn bind(flags: &[String], wrappers: &Path, bindings: &Path) {
    let mut builder = bindgen::builder()
        .header("wrapper.h")
        .clang_args(flags)
        .rust_edition(bindgen::RustEdition::Edition2024)
        .use_core()
        .generate_comments(false)
        .prepend_enum_name(false)
        .derive_debug(false)
        .derive_default(true)
        .wrap_unsafe_ops(true)
        .wrap_static_fns(true)
        .wrap_static_fns_path(wrappers)
        // Only pointers to these cross the border.
        .opaque_type("rte_(mbuf|mempool|ring|device|eth_dev_portconf|eth_.*dcb.*|eth_vmdq.*|eth_rxseg.*)")
        .formatter(bindgen::Formatter::None);
    for pattern in FUNCTIONS {
        builder = builder.allowlist_function(pattern);
    }
    for pattern in CONSTANTS {
        builder = builder.allowlist_var(pattern);
    }
    builder = builder.allowlist_type("dpdk_sys_mbuf_offset");
    match builder.generate() {
        Ok(bound) => bound.write_to_file(bindings).expect("OUT_DIR is writable"),
        Err(why) => {
            fail(&format!("libclang with its headers, and DPDK {OLDEST} or later,"), &why.to_string())
        }
    }
}

fn compile(flags: &[String], wrappers: &Path) {
    let mut build = cc::Build::new();
    build.file(wrappers).include(".").warnings(false).opt_level(2);
    for flag in flags {
        build.flag(flag);
    }
    build.compile("dpdk_sys_wrappers");
}

/// The library has no pkg-config file; its one header lies where the compiler looks.
fn bind_ipsec_mb(bindings: &Path) {
    println!("cargo::rustc-link-lib=dylib=IPSec_MB");
    let bound = bindgen::builder()
        .header("ipsec_mb.h")
        .rust_edition(bindgen::RustEdition::Edition2024)
        .use_core()
        .generate_comments(false)
        .prepend_enum_name(false)
        .derive_debug(false)
        .no_copy("gcm_key_data")
        .layout_tests(false)
        .wrap_unsafe_ops(true)
        .allowlist_function("(alloc|free)_mb_mgr|init_mb_mgr_auto|imb_get_(errno|strerror|version_str)")
        .allowlist_type("IMB_MGR|gcm_(key|context)_data|chacha20_poly1305_context_data")
        .allowlist_var("IPSEC_MB_FEATURE_[A-Z0-9_]+")
        .formatter(bindgen::Formatter::None)
        .generate();
    match bound {
        Ok(bound) => bound.write_to_file(bindings).expect("OUT_DIR is writable"),
        Err(why) => fail("Intel's multi-buffer crypto library 1.3 or later", &why.to_string()),
    }
}
