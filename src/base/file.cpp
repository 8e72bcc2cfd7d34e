#include "base/file.h"

#include <algorithm>
#include <fstream>

namespace podmirror {
namespace {

constexpr std::size_t kMaxFileBytes = 1u << 20;

}  // namespace

Result<std::string> ReadSmallFile(const std::string& file) {
  std::ifstream stream(file, std::ios::binary);
  std::string content(kMaxFileBytes + 1, '\0');
  if (stream) stream.read(content.data(), static_cast<std::streamsize>(content.size()));
  content.resize(static_cast<std::size_t>(std::max<std::streamsize>(stream.gcount(), 0)));
  if (content.empty()) return Invalid(file + " cannot be read or is empty");
  if (content.size() > kMaxFileBytes) return Invalid(file + " is longer than 1 MiB");
  return content;
}

}  // namespace podmirror
