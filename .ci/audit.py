"""Asks the package index for known vulnerabilities of what constraints.txt locks, and says so where it cannot.

pip-audit counts a package that its index does not know as skipped and ends well. On a machine whose index serves no
advisories it would skip everything and look like a pass; here that is told, and with AUDIT=required it fails.
"""

import json
import os
import subprocess
import sys

WITHIN_S = 240
COMMAND = [
    "--vulnerability-service",
    "pypi",
    "--format",
    "json",
    "--requirement",
    "constraints.txt",
    "--no-deps",
    "--disable-pip",
]


def main() -> int:
    """Audit; 1 where something is vulnerable, or where nothing could be asked and AUDIT=required."""
    try:
        done = subprocess.run(  # noqa: S603
            [sys.executable, "-m", "pip_audit", *COMMAND, "--timeout", "10", "--progress-spinner", "off"],
            capture_output=True,
            text=True,
            timeout=WITHIN_S,
            check=False,
        )
        packages = json.loads(done.stdout)["dependencies"]
    except (subprocess.TimeoutExpired, ValueError, LookupError) as error:
        return not_audited(f"pip-audit gave no answer ({type(error).__name__})")
    vulnerable = [package for package in packages if package.get("vulns")]
    for package in vulnerable:
        for one in package["vulns"]:
            print(
                f"{package['name']} {package['version']}: {one['id']}, fixed in {one['fix_versions'] or 'nothing yet'}"
            )
    asked = [package for package in packages if "skip_reason" not in package]
    print(f"audit: {len(asked)} of {len(packages)} packages asked about, {len(vulnerable)} vulnerable")
    if vulnerable:
        return 1
    if len(asked) < len(packages):
        return not_audited(f"the index knows nothing of {len(packages) - len(asked)} packages")
    return 0


def not_audited(why: str) -> int:
    """Say that this was no audit."""
    print(
        f"audit: NOT AUDITED: {why}. This is no pass: run `make audit AUDIT=required` with pypi.org in reach.",
        file=sys.stderr,
    )
    return 1 if os.environ.get("AUDIT") == "required" else 0


if __name__ == "__main__":
    sys.exit(main())
