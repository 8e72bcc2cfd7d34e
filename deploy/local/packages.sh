# The Debian packages that podmirror needs, and a function that installs what is missing of them.
# Sourced by deploy/local/up, tests/run, tests/fuzz/run, tests/bench/run and the build of the image.

# What compiling the daemon takes; the image is built with these.
# shellcheck disable=SC2034  # read by those who source this
compile_packages=(
  g++ cmake ninja-build pkg-config
  libgrpc++-dev libprotobuf-dev protobuf-compiler protobuf-compiler-grpc
  libcpp-httplib-dev nlohmann-json3-dev rapidjson-dev libspdlog-dev libabsl-dev libcli11-dev
  libtomlplusplus-dev libxxhash-dev prometheus-cpp-dev libssl-dev zlib1g-dev
)

# What building all and running a local cluster takes.
# shellcheck disable=SC2034
build_packages=(
  "${compile_packages[@]}"
  ccache catch2 etcd-server etcd-client curl python3
)

# What the tests take beyond that; llvm-14 names the lines in what a sanitizer reports.
# shellcheck disable=SC2034
test_packages=(
  python3-grpcio python3-h2 python3-protobuf iproute2 iptables util-linux procps
  clang-14 clang-tidy-14 clang-format-14 libclang-rt-14-dev llvm-14
  binutils openssl python3-yaml python3-jsonschema python3-kubernetes
  golang-github-masterminds-sprig-dev golang-k8s-sigs-yaml-dev
  nginx haproxy wget apache2-utils wrk nghttp2-client python3-urllib3 chromium
)
# Any Go will do, to render the Helm chart and as an HTTP client; so will any Node and Java.
# As a gRPC client Go has to be 1.25 at least.
command -v go >/dev/null || test_packages+=(golang-go)
command -v node >/dev/null || test_packages+=(nodejs)
command -v javac >/dev/null || test_packages+=(default-jdk-headless)

# What the fuzz targets take beyond the build.
# shellcheck disable=SC2034
fuzz_packages=(clang-14 libclang-rt-14-dev llvm-14)

# What the benchmarks take beyond that: the peers, the load, the plots.
# shellcheck disable=SC2034
bench_packages=(redis-server wrk libbenchmark-dev python3-matplotlib)

# install_missing PACKAGE...: installs those that are not there, as root or by sudo. Calls apt only
# when something is missing, so that a machine that has everything needs no network.
install_missing() {
  local installed missing=() package
  # dpkg-query fails for a package that it does not know: this must not end a script with errexit.
  installed=$(dpkg-query --show --showformat='${Package} ${db:Status-Status}\n' "$@" 2>/dev/null) ||
    true
  for package in "$@"; do
    grep -qxF "$package installed" <<<"$installed" || missing+=("$package")
  done
  [ ${#missing[@]} -eq 0 ] && return 0

  local as_root=()
  if [ "$(id -u)" -ne 0 ]; then
    if ! command -v sudo >/dev/null; then
      echo "missing packages, and neither root nor sudo to install them: ${missing[*]}" >&2
      return 1
    fi
    as_root=(sudo)
  fi
  echo "installing: ${missing[*]}"
  # apt's lists may be older than the mirror, or missing on a fresh machine. RUNLEVEL=1 keeps
  # Debian's packages from starting services of their own where there is no systemd.
  local apt=("${as_root[@]}" env DEBIAN_FRONTEND=noninteractive RUNLEVEL=1
    apt-get -qq -o DPkg::Lock::Timeout=300 -o Dpkg::Use-Pty=0)
  "${apt[@]}" update || echo "apt-get update failed; trying with the lists at hand" >&2
  if ! "${apt[@]}" install --yes --no-install-recommends "${missing[@]}" >/dev/null; then
    echo "apt-get install failed: ${missing[*]}" >&2
    return 1
  fi
  local service
  for service in etcd-server:etcd nginx:nginx haproxy:haproxy; do
    if [[ " ${missing[*]} " == *" ${service%:*} "* && -d /run/systemd/system ]]; then
      "${as_root[@]}" systemctl disable --now "${service#*:}.service" || true
    fi
  done
}
