# The image of deploy/Dockerfile, built with buildah and run with podman.

bats_require_minimum_version 1.5.0
load helpers

setup_file() {
  source "$BATS_TEST_DIRNAME/helpers.bash"
  need_images
}

teardown() { [[ -z ${CONTAINER:-} ]] || pod rm --force --volumes --time 5 "$CONTAINER" >/dev/null; }

# start <flags and command…>: in the background; sets CONTAINER
start() { CONTAINER=$(detached --read-only "$@"); }
is_healthy() { pod healthcheck run "$CONTAINER" >/dev/null 2>&1; }
stopped() { [[ $(pod inspect --format '{{.State.Status}}' "$CONTAINER") == exited ]]; }

@test "is small: not 150 MB more than its base" {
  local size
  size=$(pod image inspect --format '{{.Size}}' "$IMAGE")
  size=$((size - $(pod image inspect --format '{{.Size}}' "$(sed -n 's/^ARG BASE=//p' "$ROOT/deploy/Dockerfile")")))
  echo "$((size / 1000000)) MB"
  ((size < 150000000))
}

@test "runs as nobody in particular, and cannot write to itself" {
  [[ $(run_image "$IMAGE" id -u 2>/dev/null) == 10001 ]]
  run ! run_image "$IMAGE" touch /opt/keyranger/x
  run ! pod run --rm "$IMAGE" touch /opt/keyranger/x
}

@test "has no tools of the build" {
  run ! run_image "$IMAGE" sh -c 'command -v npm || ls /opt/keyranger/node_modules | grep -x typescript'
}

@test "has every program, and says how it is used" {
  local program
  for program in controller node proxy rangerctl hammer; do
    run -0 run_image "$IMAGE" "$program" --help
    [[ $output == *Usage:* ]] || { echo "$output"; return 1; }
  done
  run -0 run_image "$IMAGE"
  [[ $output == *'Usage: rangerctl'* ]]
}

@test "a controller is healthy, is reached by its container's name, and stops at once when told to" {
  start --hostname keeper --volume /data "$IMAGE" controller
  until_true 'it is healthy' is_healthy
  pod logs "$CONTAINER" | grep -q '"address":"keeper:5000"'
  run -0 pod exec "$CONTAINER" rangerctl nodes
  pod stop --time 20 "$CONTAINER" >/dev/null
  [[ $(pod inspect --format '{{.State.ExitCode}}' "$CONTAINER") == 0 ]]
}

@test "a node that cannot keep data says so" {
  start --name "keyranger-image-$$" "$IMAGE" node
  until_true 'it has stopped' stopped
  pod logs "$CONTAINER" 2>&1 | tee /dev/stderr | grep -q '/data'
}
