#include "trust/keyring.h"

#include <catch2/catch.hpp>
#include <filesystem>
#include <string>

#include "certs/test_certs.h"

namespace podmirror::trust {
namespace {

using testing::TestAuthority;
using testing::TestDir;

struct Fixture {
  void Write(const TestAuthority::Leaf& leaf) const {
    dir.Write("tls.crt", leaf.cert);
    dir.Write("tls.key", leaf.key);
  }
  std::unique_ptr<Keyring> Open() const {
    auto keyring = Keyring::New(files, {}, Env::Real());
    INFO(keyring.status().ToString());
    REQUIRE(keyring.ok());
    return std::move(*keyring);
  }

  TestDir dir;
  TestAuthority authority{"ca"};
  PemFiles files{dir / "tls.crt", dir / "tls.key", dir.Write("ca.crt", authority.pem())};
};

TEST_CASE("a new pair is taken once it is complete") {
  const Fixture f;
  const auto first = f.authority.Issue("first");
  const auto second = f.authority.Issue("second");
  f.Write(first);
  const auto keyring = f.Open();
  const auto before = keyring->current();
  CHECK(keyring->Look() == Looked::kUnchanged);
  CHECK(keyring->current() == before);

  f.dir.Write("tls.crt", second.cert);
  CHECK(keyring->Look() == Looked::kRefused);
  CHECK(keyring->state().error == "tls-key: is not the key of the certificate");
  CHECK(keyring->Look() == Looked::kStill);
  CHECK(keyring->current() == before);

  f.dir.Write("tls.key", second.key);
  CHECK(keyring->Look() == Looked::kTaken);
  CHECK(keyring->state().error.empty());
  CHECK(keyring->current()->own().subject() == "CN=second");
  CHECK(keyring->current()->number() > before->number());
  CHECK(before->own().subject() == "CN=first");  // who still uses the former may go on
}

TEST_CASE("files that were changed back are fine again") {
  const Fixture f;
  const auto leaf = f.authority.Issue("first");
  f.Write(leaf);
  const auto keyring = f.Open();
  const auto before = keyring->current();
  std::filesystem::remove(f.files.key);
  CHECK(keyring->Look() == Looked::kRefused);
  CHECK(keyring->Look() == Looked::kStill);
  CHECK(keyring->state().error.ends_with("cannot be read or is empty"));
  f.dir.Write("tls.key", leaf.key);
  CHECK(keyring->Look() == Looked::kUnchanged);
  CHECK(keyring->state().error.empty());
  CHECK(keyring->current() == before);
  // The same trouble once more is news.
  std::filesystem::remove(f.files.key);
  CHECK(keyring->Look() == Looked::kRefused);
}

TEST_CASE("a folder that a link is turned to, as kubelets do, is seen whatever its times are") {
  const Fixture f;
  namespace fs = std::filesystem;
  const auto fill = [&](const std::string& folder, const TestAuthority::Leaf& leaf) {
    fs::create_directory(f.dir / folder);
    f.dir.Write(folder + "/tls.crt", leaf.cert);
    f.dir.Write(folder + "/tls.key", leaf.key);
    f.dir.Write(folder + "/ca.crt", f.authority.pem());
    for (const char* file : {"/tls.crt", "/tls.key", "/ca.crt"}) {
      fs::last_write_time(f.dir / (folder + file), fs::file_time_type());
    }
  };
  fill("one", f.authority.Issue("one"));
  fill("two", f.authority.Issue("two"));
  fs::create_directory_symlink("one", f.dir / "..data");
  auto opened =
      Keyring::New({f.dir / "..data/tls.crt", f.dir / "..data/tls.key", f.dir / "..data/ca.crt"},
                   {}, Env::Real());
  REQUIRE(opened.ok());
  fs::create_directory_symlink("two", f.dir / "..data_tmp");
  fs::rename(f.dir / "..data_tmp", f.dir / "..data");
  CHECK((*opened)->Look() == Looked::kTaken);
  CHECK((*opened)->current()->own().subject() == "CN=two");
}

TEST_CASE("a changed authority is taken with the same pair") {
  const Fixture f;
  f.Write(f.authority.Issue("first"));
  const auto keyring = f.Open();
  const TestAuthority other("other");
  f.dir.Write("ca.crt", f.authority.pem() + other.pem());
  CHECK(keyring->Look() == Looked::kTaken);
  CHECK(keyring->current()->authorities()->each().size() == 2);
  f.dir.Write("ca.crt", "nonsense");
  CHECK(keyring->Look() == Looked::kRefused);
  CHECK(keyring->current()->authorities()->each().size() == 2);
}

TEST_CASE("what is wrong at the start is told") {
  const Fixture f;
  const auto missing = Keyring::New(f.files, {}, Env::Real());
  REQUIRE_FALSE(missing.ok());
  CHECK(missing.status().message().starts_with("tls-cert: "));
}

}  // namespace
}  // namespace podmirror::trust
