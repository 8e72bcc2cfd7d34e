// Plays scenario files: commands at the start of a line, and below each, indented, what it led to
// when it was recorded. A run must lead to the same. See script.h for the commands.
//
//   scenario DIR|FILE...              plays and compares
//   scenario --rewrite DIR|FILE...    plays and records anew: read the difference before you keep
//   it
#include <algorithm>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <sstream>
#include <stdexcept>
#include <string>
#include <vector>

#include "scenario/script.h"

namespace {

namespace fs = std::filesystem;

constexpr std::string_view kIndent = "    ";

std::vector<std::string> LinesOf(const std::string& text) {
  std::istringstream stream(text);
  std::vector<std::string> lines;
  for (std::string line; std::getline(stream, line);) lines.push_back(line);
  return lines;
}

std::string Read(const fs::path& path) {
  std::ifstream file(path);
  std::ostringstream text;
  text << file.rdbuf();
  if (!file) throw std::runtime_error("cannot read " + path.string());
  return text.str();
}

// The file as this run would have recorded it. Throws with the place of a command that is wrong.
std::string Play(const fs::path& path, const std::string& recorded) {
  podmirror::scenario::Script script;
  std::string played;
  int number = 0;
  for (const std::string& line : LinesOf(recorded)) {
    ++number;
    if (line.starts_with(kIndent)) continue;
    played += line + "\n";
    if (line.empty() || line.starts_with('#')) continue;
    try {
      for (const std::string& told : script.Do(line)) played += std::string(kIndent) + told + "\n";
    } catch (const std::exception& error) {
      throw std::runtime_error(path.string() + ":" + std::to_string(number) + ": " + error.what());
    }
  }
  return played;
}

void ShowFirstDifference(const fs::path& path, const std::string& recorded,
                         const std::string& played) {
  const std::vector<std::string> was = LinesOf(recorded);
  const std::vector<std::string> is = LinesOf(played);
  std::size_t at = 0;
  while (at < was.size() && at < is.size() && was[at] == is[at]) ++at;
  std::cout << path.string() << ":" << at + 1 << "\n"
            << "  recorded: " << (at < was.size() ? was[at] : "(the end)") << "\n"
            << "  now:      " << (at < is.size() ? is[at] : "(the end)") << "\n";
}

std::vector<fs::path> FilesOf(const fs::path& path) {
  if (!fs::is_directory(path)) return {path};
  std::vector<fs::path> files;
  for (const fs::directory_entry& entry : fs::directory_iterator(path)) {
    if (entry.path().extension() == ".txt") files.push_back(entry.path());
  }
  std::sort(files.begin(), files.end());
  return files;
}

int Run(const std::vector<std::string>& paths, bool rewrite) {
  int count = 0;
  int failed = 0;
  for (const std::string& path : paths) {
    for (const fs::path& file : FilesOf(path)) {
      ++count;
      const std::string recorded = Read(file);
      const std::string played = Play(file, recorded);
      if (played == recorded) continue;
      if (rewrite) {
        std::ofstream(file) << played;
        std::cout << file.string() << " recorded anew\n";
      } else {
        ++failed;
        ShowFirstDifference(file, recorded, played);
      }
    }
  }
  std::cout << count << " scenarios, " << failed << " failed\n";
  return failed == 0 && count > 0 ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) {
  std::vector<std::string> paths(argv + 1, argv + argc);
  const bool rewrite = std::erase(paths, "--rewrite") > 0;
  if (paths.empty()) {
    std::cerr << "usage: scenario [--rewrite] DIR|FILE...\n";
    return 2;
  }
  try {
    return Run(paths, rewrite);
  } catch (const std::exception& error) {
    std::cerr << error.what() << "\n";
    return 2;
  }
}
