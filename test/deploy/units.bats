# The systemd units, as far as they can be judged without starting them.

bats_require_minimum_version 1.5.0
load helpers

setup() { command -v systemd-analyze >/dev/null || skip 'there is no systemd-analyze'; }

@test "systemd takes them as they are" {
  # Nothing is installed where they look for it; all else has to be right.
  mkdir -p "$BATS_TEST_TMPDIR/units"
  cp "$ROOT"/deploy/systemd/*.service "$BATS_TEST_TMPDIR/units"
  sed -i "s|^ExecStart=/opt/keyranger|ExecStart=$ROOT|" "$BATS_TEST_TMPDIR"/units/*
  run -0 systemd-analyze verify --man=no "$BATS_TEST_TMPDIR"/units/*.service
  [[ -z $output ]]
}

@test "they give a process little more than it needs" {
  local unit
  for unit in "$ROOT"/deploy/systemd/*.service; do systemd-analyze security --offline=true --threshold=20 "$unit"; done
}
