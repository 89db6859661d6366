//! What the tests need besides Rust: installed once into the user's cache folder, keyed by what is asked for.
//!
//! A folder is complete when it holds the file `.complete`; one that an interrupted run left is made anew.

use crate::{command, paths};
use anyhow::{Context as _, Result, bail};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

/// A Debian package and a shell test that shows it is there.
pub struct Package {
    name: &'static str,
    shown_by: &'static str,
}

/// Network namespaces, Python's own environments, npm and certificates.
pub const NETWORK: &[Package] = &[
    Package { name: "iproute2", shown_by: "command -v ip" },
    Package { name: "util-linux", shown_by: "command -v unshare" },
    Package { name: "python3-venv", shown_by: "python3 -c 'import ensurepip, venv'" },
    Package { name: "npm", shown_by: "command -v npm" },
    Package { name: "curl", shown_by: "command -v curl" },
    Package { name: "openssl", shown_by: "command -v openssl" },
];

/// A browser without a screen, and letters for it.
pub const BROWSER: &[Package] = &[
    Package { name: "chromium", shown_by: "command -v chromium" },
    Package {
        name: "fonts-dejavu-core",
        shown_by: "test -e /usr/share/fonts/truetype/dejavu/DejaVuSans.ttf",
    },
];

/// A peer that `bench mqtt` compares with, and a server of ordinary topics for the commands and bridges.
pub const MOSQUITTO: &[Package] =
    &[Package { name: "mosquitto", shown_by: "command -v mosquitto || test -x /usr/sbin/mosquitto" }];

/// What Flink, a peer of `bench sql`, runs on.
pub const JAVA: &[Package] =
    &[Package { name: "openjdk-17-jre-headless", shown_by: "command -v java && java -version" }];

/// Clients of ordinary MQTT topics.
pub const MQTT_CLIENTS: &[Package] = &[Package {
    name: "mosquitto-clients",
    shown_by: "command -v mosquitto_pub && command -v mosquitto_sub",
}];

/// How long the fetching of packages may take, over a slow line.
const FETCH: Duration = Duration::from_secs(30 * 60);
/// How long the build of a tool may take.
const BUILD: Duration = Duration::from_secs(30 * 60);

const CARGO_DENY: &str = "0.20.2";
const CARGO_FUZZ: &str = "0.13.2";
/// The newest release; its broker program is in the crate.
const RUMQTTD: &str = "0.20.0";

/// Installs what is missing, as root or through sudo; without either it fails with the command to type.
pub fn system_packages(wanted: &[Package]) -> Result<()> {
    let present = |package: &Package| command::succeeds(Command::new("sh").args(["-c", package.shown_by]));
    let missing: Vec<_> =
        wanted.iter().filter(|package| !present(package)).map(|package| package.name).collect();
    if missing.is_empty() {
        return Ok(());
    }
    let root = command::output(Command::new("id").arg("-u"))?.trim() == "0";
    let sudo = !root && command::succeeds(Command::new("sudo").args(["-n", "true"]));
    if !root && !sudo {
        bail!("missing: sudo apt-get install --no-install-recommends {}", missing.join(" "));
    }
    let apt = |arguments: &[&str]| {
        let mut apt = Command::new(if sudo { "sudo" } else { "env" });
        apt.args(["DEBIAN_FRONTEND=noninteractive", "apt-get", "-q"]).args(arguments);
        apt
    };
    command::run(&mut apt(&["update"]), FETCH)?;
    command::run(apt(&["install", "-y", "--no-install-recommends", "--no-remove"]).args(missing), FETCH)
}

/// Makes a keyed folder by `fill`, unless it is complete already.
fn once(folder: PathBuf, fill: impl FnOnce(&Path) -> Result<()>) -> Result<PathBuf> {
    let complete = folder.join(".complete");
    if !complete.exists() {
        if folder.exists() {
            fs::remove_dir_all(&folder)?;
        }
        fs::create_dir_all(&folder)?;
        fill(&folder)?;
        fs::write(complete, "")?;
    }
    Ok(folder)
}

/// The interpreter of a Python environment with the packages of some requirement files.
pub fn python(requirements: &[&str]) -> Result<PathBuf> {
    let files: Vec<_> = requirements.iter().map(|file| paths::root().join(file)).collect();
    let contents = files
        .iter()
        .map(|file| fs::read(file).with_context(|| file.display().to_string()))
        .collect::<Result<Vec<_>>>()?;
    let folder = once(paths::keyed("python", &contents)?, |folder| {
        command::run(Command::new("python3").args(["-m", "venv"]).arg(folder), FETCH)?;
        let mut pip = Command::new(folder.join("bin/python"));
        pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]);
        for file in &files {
            pip.arg("--requirement").arg(file);
        }
        command::run(&mut pip, FETCH)
    })?;
    Ok(folder.join("bin/python"))
}

/// The folder with the stock `umqtt.simple`, for the device's network tests.
///
/// The package is a source archive that pip cannot install, having no setup.py: pip fetches it, checks its hash, unpacks it,
/// and gives up. With `--no-clean` it leaves what it unpacked, which is all that is wanted.
pub fn umqtt() -> Result<PathBuf> {
    let requirements = paths::root().join("tests/device/umqtt-requirements.txt");
    let python = python(&["tests/clients/python/requirements.txt"])?;
    once(paths::keyed("umqtt", &[fs::read(&requirements)?])?, |folder| {
        let unpacked = folder.join("unpacked");
        fs::create_dir_all(&unpacked)?;
        let mut pip = Command::new(python);
        pip.args([
            "-m",
            "pip",
            "download",
            "--no-clean",
            "--no-deps",
            "--no-binary=:all:",
            "--require-hashes",
        ])
        .arg("--dest")
        .arg(folder)
        .arg("--requirement")
        .arg(&requirements)
        .env("TMPDIR", &unpacked)
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
        let output = command::answer(&mut pip, FETCH)?;
        let Some(module) = find(&unpacked, "simple.py")? else {
            bail!("pip did not fetch umqtt.simple: {}", String::from_utf8_lossy(&output.stderr));
        };
        fs::create_dir_all(folder.join("umqtt"))?;
        fs::copy(module, folder.join("umqtt/simple.py"))?;
        Ok(())
    })
}

fn find(folder: &Path, name: &str) -> Result<Option<PathBuf>> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            if let Some(found) = find(&path, name)? {
                return Ok(Some(found));
            }
        } else if path.file_name().is_some_and(|file| file == name) {
            return Ok(Some(path));
        }
    }
    Ok(None)
}

/// Installs a folder's npm packages into the cache and links them in; returns the folder.
pub fn npm(folder: &str) -> Result<PathBuf> {
    system_packages(NETWORK)?;
    let folder = paths::root().join(folder);
    let manifest = fs::read(folder.join("package.json"))?;
    let lock = fs::read(folder.join("package-lock.json"))?;
    let packages = once(paths::keyed("npm", &[&manifest, &lock])?, |packages| {
        fs::write(packages.join("package.json"), &manifest)?;
        fs::write(packages.join("package-lock.json"), &lock)?;
        command::run(
            Command::new("npm")
                .args(["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"])
                .current_dir(packages),
            FETCH,
        )
    })?;
    // Node looks for packages beside the importing file and nowhere else.
    let link = folder.join("node_modules");
    match fs::symlink_metadata(&link) {
        Ok(found) if found.is_symlink() => fs::remove_file(&link)?,
        Ok(_) => bail!("{} is not a link: delete it", link.display()),
        Err(_) => {}
    }
    std::os::unix::fs::symlink(packages.join("node_modules"), &link)?;
    Ok(folder)
}

/// cargo-deny, built from source: the prebuilt packages are too old for today's cargo.
pub fn cargo_deny() -> Result<PathBuf> {
    // Half the build time of a release build, and fast enough.
    let quick = ["--locked", "--no-default-features", "--debug"];
    let environment = [("CARGO_PROFILE_DEV_DEBUG", "0"), ("CARGO_PROFILE_DEV_OPT_LEVEL", "1")];
    cargo_install("cargo-deny", CARGO_DENY, &quick, &environment)
}

/// cargo-fuzz, which builds for the fuzzer and runs it.
pub fn cargo_fuzz() -> Result<PathBuf> {
    cargo_install("cargo-fuzz", CARGO_FUZZ, &["--locked", "--debug"], &[("CARGO_PROFILE_DEV_DEBUG", "0")])
}

/// rumqttd, optimised: it is measured. Not with its own lock file, which holds a crate that today's compiler refuses.
pub fn rumqttd() -> Result<PathBuf> {
    cargo_install("rumqttd", RUMQTTD, &[], &[])
}

/// A program built from a published crate; its path.
fn cargo_install(
    name: &str,
    version: &str,
    options: &[&str],
    environment: &[(&str, &str)],
) -> Result<PathBuf> {
    let folder = once(paths::keyed(name, &[version])?, |folder| {
        let build = folder.join("build");
        let mut install = command::cargo();
        install.args(["install", "--quiet", "--version", version]).args(options);
        install.arg("--root").arg(folder).arg(name);
        install.envs(environment.iter().copied()).env("CARGO_TARGET_DIR", &build);
        command::run(&mut install, BUILD)?;
        fs::remove_dir_all(build).context("removing the build folder")
    })?;
    Ok(folder.join("bin").join(name))
}
