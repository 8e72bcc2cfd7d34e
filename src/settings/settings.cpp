#include "settings/settings.h"

#include <toml++/toml.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iomanip>
#include <map>
#include <sstream>
#include <utility>

#include "base/env.h"
#include "base/toml_depth.h"
#include "settings/check.h"
#include "settings/table.h"

namespace podmirror::settings {
namespace {

constexpr std::size_t kMaxFileBytes = 1u << 20;
constexpr std::size_t kMaxFlagError = 200;

struct Given {
  std::string text;
  std::string origin;  // "flag --ack", "environment PODMIRROR_ACK", "pods.toml line 3"
};
using GivenByName = std::map<std::string, Given>;

struct Flags {
  GivenByName given;
  std::string config;
  bool check_only = false;
  std::string print;
};

Result<Flags> ParseFlags(std::span<const char* const> arguments) {
  CLI::App app("Mirrors a cache between the pods of a service.", "podmirrord");
  app.set_version_flag("--version", std::string(Version()), "Print the version");
  Flags flags;
  CLI::Option* const config = app.add_option("--config", flags.config, "TOML file with settings");
  config->type_name("FILE");
  app.add_flag("--check-config", flags.check_only, "Check all settings, then exit");
  std::map<std::string, std::string> texts;
  std::map<std::string, CLI::Option*> options;
  for (const Setting& setting : Table()) {
    std::string help = setting.help;
    if (!setting.fallback.empty()) help += " [" + setting.fallback + "]";
    CLI::Option* option = app.add_option("--" + setting.name, texts[setting.name], help);
    option->type_name("");
    // Without a value it is true; an empty value, as in "--bootstrap-alone=", is a bad one.
    if (setting.kind == Setting::Kind::kBool) option->expected(0, 1)->default_str("true");
    options[setting.name] = option;
  }
  app.footer(
      "Each is also PODMIRROR_... in the environment and a key in the file; the flag goes "
      "first, then the environment.");
  std::vector<std::string> words;
  for (const std::string argument : arguments) {
    // After "--name=" CLI11 would take the next argument for the value: give it an empty word.
    const bool empty_value =
        argument.starts_with("--") && argument.find('=') == argument.size() - 1;
    words.push_back(empty_value ? argument.substr(0, argument.size() - 1) : argument);
    if (empty_value) words.emplace_back();
  }
  std::reverse(words.begin(), words.end());  // CLI11 takes them from the back
  try {
    app.parse(std::move(words));
  } catch (const CLI::CallForHelp&) {
    flags.print = app.help();
  } catch (const CLI::CallForVersion&) {
    flags.print = std::string(Version()) + "\n";
  } catch (const CLI::ParseError& error) {
    return Status(Code::kInvalid, OneLine(error.what(), kMaxFlagError));
  }
  if (config->count() != 0 && flags.config.empty()) return Invalid("config", "\"\" is no file");
  for (const auto& [name, option] : options) {
    if (option->count() != 0) flags.given[name] = {texts[name], "flag --" + name};
  }
  return flags;
}

// The text of a value in the file, as a flag would give it; nothing when the value is of another
// kind, such as a table.
std::optional<std::string> TextOf(const toml::node& node, Setting::Kind kind) {
  if (const auto* text = node.as_string()) return text->get();
  if (const auto* number = node.as_integer()) return std::to_string(number->get());
  if (const auto* boolean = node.as_boolean()) return boolean->get() ? "true" : "false";
  const auto* array = node.as_array();
  if (array == nullptr || kind != Setting::Kind::kList) return std::nullopt;
  std::string list;
  for (const toml::node& item : *array) {
    const auto* text = item.as_string();
    if (text == nullptr) return std::nullopt;
    list += (list.empty() ? "" : ",") + text->get();
  }
  return list;
}

Result<std::string> ReadFile(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::string text(kMaxFileBytes + 1, '\0');
  if (!file || !file.read(text.data(), static_cast<std::streamsize>(text.size())).eof()) {
    const std::string why = file ? "it is larger than 1 MiB" : std::strerror(errno);
    return Invalid("config", "cannot read " + Quoted(path) + ": " + why);
  }
  text.resize(static_cast<std::size_t>(file.gcount()));
  return text;
}

Result<GivenByName> ParseFile(const std::string& path) {
  const auto text = ReadFile(path);
  if (!text.ok()) return text.status();
  const auto line = [&path](const toml::source_region& source) {
    return Quoted(path) + " line " + std::to_string(source.begin.line);
  };
  if (const std::size_t many = LineOfManyDots(*text); many != 0) {
    return Invalid("config", Quoted(path) + " line " + std::to_string(many) + ": " + kManyDots);
  }
  GivenByName given;
  toml::table table;
  try {
    table = toml::parse(std::string_view(*text), std::string_view(path));
  } catch (const toml::parse_error& error) {
    return Invalid("config", line(error.source()) + ": " + std::string(error.description()));
  }
  for (const auto& [key, node] : table) {
    const std::string name(key.str());
    const auto known =
        std::find_if(Table().begin(), Table().end(),
                     [&name](const Setting& setting) { return setting.name == name; });
    if (known == Table().end()) {
      return Invalid("config", line(key.source()) + ": unknown key " + Quoted(name));
    }
    auto value = TextOf(node, known->kind);
    if (!value) return Invalid(name, "has a value of the wrong kind (" + line(node.source()) + ")");
    given[name] = {*std::move(value), line(node.source())};
  }
  return given;
}

// Kubernetes tells each pod of the Services in its namespace: a Service called podmirror-peer is
// PODMIRROR_PEER_PORT=tcp://10.0.0.1:7070, which has the name of a setting.
bool IsServiceLink(const std::string& variable, const std::string& text) {
  return variable.ends_with("_PORT") && (text.starts_with("tcp://") || text.starts_with("udp://"));
}

GivenByName FromEnvironment(const Surroundings& surroundings, std::vector<std::string>& warnings) {
  GivenByName given;
  for (const Setting& setting : Table()) {
    const std::string variable = setting.variable();
    auto text = surroundings.environment(variable);
    if (!text) continue;
    if (IsServiceLink(variable, *text)) {
      warnings.push_back(setting.name + ": " + Quoted(*text) + " is ignored, since it tells of a " +
                         "Kubernetes Service (environment " + variable + ")");
      continue;
    }
    given[setting.name] = {*std::move(text), "environment " + variable};
  }
  return given;
}

GivenByName Defaults(const Surroundings& surroundings) {
  GivenByName given;
  for (const Setting& setting : Table()) {
    if (!setting.fallback.empty()) given[setting.name] = {setting.fallback, "default"};
    if (setting.fallback_variable.empty()) continue;
    if (auto text = surroundings.environment(setting.fallback_variable)) {
      given[setting.name] = {*std::move(text), "environment " + setting.fallback_variable};
    }
  }
  return given;
}

Status Apply(const GivenByName& given, Settings& settings) {
  for (const Setting& setting : Table()) {
    const auto found = given.find(setting.name);
    if (found == given.end()) continue;
    const std::string wrong = setting.parse(found->second.text, settings);
    if (!wrong.empty()) {
      return Invalid(setting.name,
                     Quoted(found->second.text) + " " + wrong + " (" + found->second.origin + ")");
    }
  }
  return {};
}

// Fills in what Kubernetes gives every pod: the address of its API in environment variables, the
// token and the certificate for it in a folder.
void DeriveKubeApi(Settings& settings, const Surroundings& surroundings) {
  const std::string folder = "/var/run/secrets/kubernetes.io/serviceaccount/";
  if (settings.kube_api_url.empty()) {
    const auto host = surroundings.environment("KUBERNETES_SERVICE_HOST");
    const auto port = surroundings.environment("KUBERNETES_SERVICE_PORT");
    if (!host || host->empty() || !port || port->empty()) return;
    const bool v6 = host->find(':') != std::string::npos;
    settings.kube_api_url = "https://" + (v6 ? "[" + *host + "]" : *host) + ":" + *port;
  }
  // Without TLS the pod's own token is not sent, only one that kube-token-file names.
  if (!settings.kube_api_url.starts_with("https://")) return;
  if (settings.kube_token_file.empty()) settings.kube_token_file = folder + "token";
  if (settings.kube_ca.empty()) settings.kube_ca = folder + "ca.crt";
}

// Requires: there is an address for gRPC.
// Where no record gives this daemon's address, the one that it listens on is it.
void DeriveIp(Settings& settings) {
  const std::string& host =
      (settings.grpc_listen ? settings.grpc_listen : settings.grpc_tls_listen)->host;
  const bool one_address = IsIpAddress(host) && host != "::" && host != "0.0.0.0";
  if (settings.pod.ip.empty() && one_address) settings.pod.ip = host;
}

// Defaults that come from other settings or from the surroundings.
void Derive(Settings& settings, const Surroundings& surroundings) {
  if (settings.ns.empty()) settings.ns = settings.pod.ns.empty() ? "default" : settings.pod.ns;
  if (settings.pod.ns.empty()) settings.pod.ns = settings.ns;
  if (settings.pod.name.empty()) settings.pod.name = surroundings.hostname;
  const bool registry = settings.discovery == "registry";
  if (registry && settings.pod.uid.empty()) settings.pod.uid = surroundings.uid;
  if (registry || settings.discovery == "static") DeriveIp(settings);
  if (settings.tls_key.empty()) settings.tls_key = settings.tls_cert;
  if (settings.peer_tls_port == 0 && settings.grpc_tls_listen) {
    settings.peer_tls_port = settings.grpc_tls_listen->port;
  }
  if (settings.peer_port == 0) {
    settings.peer_port = settings.grpc_listen ? settings.grpc_listen->port : settings.peer_tls_port;
  }
  if (settings.cluster.empty()) {
    settings.cluster =
        settings.ns + "/" + (settings.service.empty() ? settings.selector : settings.service);
  }
  if (settings.discovery == "kube-api" || settings.auth_jwks.starts_with("https://")) {
    DeriveKubeApi(settings, surroundings);
  }
  if (settings.log_format.empty()) settings.log_format = surroundings.terminal ? "text" : "json";
}

}  // namespace

std::string HostPort::ToString() const {
  const bool v6 = host.find(':') != std::string::npos;
  return (v6 ? "[" + host + "]" : host) + ":" + std::to_string(port);
}

Surroundings Surroundings::Real() {
  Surroundings real;
  real.environment = [](const std::string& name) -> std::optional<std::string> {
    const char* value = std::getenv(name.c_str());
    if (value == nullptr) return std::nullopt;
    return value;
  };
  char hostname[256] = {};
  if (gethostname(hostname, sizeof(hostname) - 1) == 0) real.hostname = hostname;
  std::ostringstream uid;
  uid << std::hex << std::setfill('0');
  for (int half = 0; half < 2; ++half) uid << std::setw(16) << Env::Real().Random();
  real.uid = uid.str();
  real.terminal = isatty(STDOUT_FILENO) == 1;
  return real;
}

Result<Loaded> Load(std::span<const char* const> arguments, const Surroundings& surroundings) {
  auto flags = ParseFlags(arguments);
  if (!flags.ok()) return flags.status();
  Loaded loaded;
  loaded.check_only = flags->check_only;
  loaded.print = flags->print;
  if (!loaded.print.empty()) return loaded;

  std::vector<GivenByName> layers = {Defaults(surroundings)};  // from the weakest to the strongest
  if (!flags->config.empty()) {
    auto file = ParseFile(flags->config);
    if (!file.ok()) return file.status();
    layers.push_back(std::move(*file));
  }
  layers.push_back(FromEnvironment(surroundings, loaded.warnings));
  layers.push_back(std::move(flags->given));
  for (const GivenByName& layer : layers) {
    Status status = Apply(layer, loaded.settings);
    if (!status.ok()) return status;
  }
  Status status = CheckListening(loaded.settings);
  if (!status.ok()) return status;
  Derive(loaded.settings, surroundings);
  status = Check(loaded.settings);
  if (!status.ok()) return status;
  return loaded;
}

std::string_view Version() { return PODMIRROR_VERSION; }

}  // namespace podmirror::settings
