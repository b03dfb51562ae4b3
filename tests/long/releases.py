"""Programs of later Debian releases, unpacked beside the system and never installed; what the scripts of this folder share."""
import glob
import os
import pathlib
import shutil
import subprocess
import sys

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
GUESTS = REPOSITORY / "build/guests"
LIMIT = 240  # seconds: for one that hangs, not for one that is busy


def fail(why):
    sys.exit(f"{os.path.relpath(sys.argv[0], REPOSITORY)}: {why}")


def output(*argv, limit=LIMIT, **options):
    done = subprocess.run([*map(str, argv)], capture_output=True, text=True, timeout=limit, check=False, stdin=options.pop("stdin", subprocess.DEVNULL),
                          **options)
    if done.returncode != 0:
        fail(f"{' '.join(map(str, argv))[:400]} failed:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return done.stdout


def fetch(suite, what, packages):
    """The folder with the unpacked packages of that release, and with what they depend on. Fetched from the archive that the machine's own
    apt uses, by an apt of its own."""
    root, apt = GUESTS / f"root-{suite}{what and '-' + what}", GUESTS / f"apt-{suite}-{what or 'debuggers'}"
    if (root / "complete").exists():
        return root
    for folder in ("lists/partial", "cache/archives/partial", "etc"):
        (apt / folder).mkdir(parents=True, exist_ok=True)
    (apt / "status").touch()
    sites = {line for line in output("apt-get", "indextargets", "--format", "$(SITE)", "Created-By: Packages").split() if "security" not in line}
    (apt / "etc/release.list").write_text(f"deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] {min(sites)} {suite} main\n")
    private = [f"-oDir::State={apt}", f"-oDir::State::lists={apt}/lists", f"-oDir::State::status={apt}/status", f"-oDir::Cache={apt}/cache",
               f"-oDir::Etc::SourceList={apt}/etc/release.list", "-oDir::Etc::SourceParts=/dev/null", "-oAcquire::Languages=none",
               "-oAcquire::Retries=3", "-oAPT::Sandbox::User=root", "-oAPT::Install-Recommends=0"]
    print(f"fetching the programs of {suite}", flush=True)
    output("apt-get", *private, "update", limit=900)
    output("apt-get", *private, "-y", "--download-only", "install", *packages, limit=1800)
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir()
    for name in ("bin", "sbin", "lib", "lib64"):
        (root / "usr" / name).mkdir(parents=True)
        (root / name).symlink_to(f"usr/{name}")
    for package in sorted(glob.glob(f"{apt}/cache/archives/*.deb")):
        # Through links of the root: dpkg -x would put folders in their place.
        with subprocess.Popen(["dpkg", "--fsys-tarfile", package], stdout=subprocess.PIPE) as tar:
            output("tar", "-x", "--keep-directory-symlink", "-C", root, stdin=tar.stdout)
    (root / "complete").touch()
    return root
