#include "rest/batch.h"

#include <catch2/catch.hpp>
#include <string>
#include <vector>

namespace podmirror::rest {
namespace {

using namespace std::string_literals;

constexpr sync::ItemLimits kLimits{.max_key_bytes = 8, .max_value_bytes = 10};

// The items as text, or the status and detail of the refusal.
std::string Parsed(const std::string& body, std::int64_t default_ttl_ms = 0) {
  Batch batch;
  if (const auto refusal = batch.Parse(body, kLimits, default_ttl_ms)) {
    CHECK(batch.items().empty());
    const std::string type = ProblemResponse(*refusal).body;
    return type.substr(23, type.find("\",") - 23) + ": " + refusal->detail;
  }
  std::string text;
  for (const sync::WriteItem& item : batch.items()) {
    text += std::to_string(item.type) + "/" + std::string(item.key);
    text += item.touch ? " touched" : item.remove ? " gone" : "=" + std::string(item.value);
    if (item.ttl_ms != 0) text += " " + std::to_string(item.ttl_ms) + "ms";
    text += "\n";
  }
  CHECK(batch.sets() + batch.deletes() + batch.touches().value_or(0) == batch.items().size());
  CHECK(batch.touches().has_value() == (body.find("\"touch\"") != std::string::npos));
  return text;
}

TEST_CASE("batch: puts and deletes, their fields in any order") {
  CHECK(Parsed(R"({"data":[{"type":1,"data":{"k":"v","b":{"base64":"AAEC/w=="}},"ttl":"30s"},
                           {"data":{"k":""},"type":-2}],
                   "delete":[{"keys":["a","c"],"type":1}]})") ==
        "1/k=v 30000ms\n1/b=\0\1\2\xff 30000ms\n-2/k=\n1/a gone\n1/c gone\n"s);
  CHECK(Parsed("{}").empty());
  CHECK(Parsed(R"({"data":[],"delete":[]})").empty());
  CHECK(Parsed(R"({"data":[{"type":1,"data":{}}]})").empty());
  CHECK(Parsed(R"({"data":[{"type":1,"data":{"\u00e4\"":"\n"}}]})") == "1/\xc3\xa4\"=\n\n");
}

TEST_CASE("batch: touches come last, wherever the document has them") {
  CHECK(Parsed(R"({"touch":[{"type":1,"keys":["a","b"],"ttl":"30s"},
                            {"ttl":"1s","keys":["a"],"type":2}],
                   "data":[{"type":1,"data":{"k":"v"}}],
                   "delete":[{"keys":["c"],"type":1}]})") ==
        "1/k=v\n1/c gone\n1/a touched 30000ms\n1/b touched 30000ms\n2/a touched 1000ms\n");
  CHECK(Parsed(R"({"touch":[]})").empty());
  CHECK(Parsed(R"({"touch":[{"type":1,"keys":[],"ttl":"1s"}]})").empty());
  CHECK(Parsed(R"({"touch":[{"type":1,"keys":["a"]},{"type":1,"keys":["b"],"ttl":"1s"}]})", 500) ==
        "1/a touched 500ms\n1/b touched 1000ms\n");
}

TEST_CASE("batch: the query's ttl is for puts without their own") {
  CHECK(Parsed(R"({"data":[{"type":1,"data":{"a":""}},{"type":1,"data":{"b":""},"ttl":"1s"}],
                   "delete":[{"type":1,"keys":["c"]}]})",
               500) == "1/a= 500ms\n1/b= 1000ms\n1/c gone\n");
}

TEST_CASE("batch: whatever is wrong is named, and nothing is left of the rest") {
  const std::vector<std::pair<std::string, std::string>> examples = {
      {"", "invalid-json: not JSON at byte 1"},
      {"{", "invalid-json: not JSON at byte 2"},
      {"{} x", "invalid-json: not JSON at byte 4"},
      {"[]", "invalid-json: the document: unexpected array"},
      {"null", "invalid-json: the document: unexpected null"},
      {R"({"data":{}})", "invalid-json: the document: unexpected object"},
      {R"({"data":[],"data":[]})", "invalid-json: the document: a field is given twice"},
      {R"({"more":1})", "invalid-json: the document: unknown field \"more\""},
      {R"({"data":[1]})", "invalid-json: data: unexpected number"},
      {R"({"data":[{"type":1,"data":{}},"x"]})", "invalid-json: data: unexpected string"},
      {R"({"data":[{"data":{}}]})", "invalid-type: data[0]: type is missing"},
      {R"({"data":[{"type":1}]})", "invalid-json: data[0]: data is missing"},
      {R"({"delete":[{"type":1}]})", "invalid-json: delete[0]: keys is missing"},
      {R"({"data":[{"type":1,"data":{}},{"type":1,"type":1,"data":{}}]})",
       "invalid-json: data[1]: a field is given twice"},
      {R"({"data":[{"type":1,"data":{},"x":1}]})", "invalid-json: data[0]: unknown field \"x\""},
      {R"({"data":[{"type":1,"data":[]}]})", "invalid-json: data[0]: unexpected array"},
      {R"({"data":[{"type":1,"data":{"k":1}}]})",
       "invalid-json: data[0], key \"k\": unexpected number"},
      {R"({"data":[{"type":1,"data":{"k":null}}]})",
       "invalid-json: data[0], key \"k\": unexpected null"},
      {R"({"data":[{"type":1,"data":{"k":["v"]}}]})",
       "invalid-json: data[0], key \"k\": unexpected array"},
      {R"({"data":[{"type":1,"data":{"k":{}}}]})",
       "invalid-json: data[0], key \"k\": base64 is missing"},
      {R"({"data":[{"type":1,"data":{"k":{"base64":"!"}}}]})",
       "invalid-json: data[0], key \"k\": not one base64 text"},
      {R"({"data":[{"type":1,"data":{"k":{"base64":"","base64":""}}}]})",
       "invalid-json: data[0], key \"k\": not one base64 text"},
      {R"({"data":[{"type":1,"data":{"k":{"hex":""}}}]})",
       "invalid-json: data[0], key \"k\": unknown field \"hex\""},
      {R"({"delete":[{"type":1,"keys":[1]}]})", "invalid-json: delete[0]: unexpected number"},
      {R"({"data":[{"type":"1","data":{}}]})",
       "invalid-type: data[0]: type must be a 32-bit integer"},
      {R"({"data":[{"type":1.0,"data":{}}]})",
       "invalid-type: data[0]: type must be a 32-bit integer"},
      {R"({"data":[{"type":2147483648,"data":{}}]})",
       "invalid-type: data[0]: type must be a 32-bit integer"},
      {R"({"delete":[{"type":-2147483649,"keys":[]}]})",
       "invalid-type: delete[0]: type must be a 32-bit integer"},
      {R"({"data":[{"type":18446744073709551615,"data":{}}]})",
       "invalid-type: data[0]: type must be a 32-bit integer"},
      {R"({"data":[{"type":1,"data":{"k":""},"ttl":30}]})",
       "invalid-json: data[0]: unexpected number"},
      {R"({"data":[{"type":1,"data":{"":"v"}}]})",
       "invalid-key: data[0], key \"\": a key is 1 to 8 bytes of UTF-8 without NUL"},
      {R"({"data":[{"type":1,"data":{"123456789":"v"}}]})",
       "invalid-key: data[0], key \"123456789\": a key is 1 to 8 bytes of UTF-8 without NUL"},
      {R"({"delete":[{"type":1,"keys":["\u0000"]}]})",
       "invalid-key: delete[0], key \"\0\": a key is 1 to 8 bytes of UTF-8 without NUL"s},
      {R"({"data":[{"type":1,"data":{"k":"12345678901"}}]})",
       "value-too-large: data[0], key \"k\": the value is over 10 bytes"},
      {R"({"data":[{"type":1,"data":{"k":"a","k":"b"}}]})",
       "invalid-json: type 1, key \"k\" is given twice"},
      {R"({"data":[{"type":1,"data":{"k":"a"}}],"delete":[{"type":1,"keys":["k"]}]})",
       "invalid-json: type 1, key \"k\" is given twice"},
      {R"({"data":[{"data":{"k":"a"},"type":1},{"type":1,"data":{"k":"a"}}]})",
       "invalid-json: type 1, key \"k\" is given twice"},
      {R"({"touch":{}})", "invalid-json: the document: unexpected object"},
      {R"({"touch":[],"touch":[]})", "invalid-json: the document: a field is given twice"},
      {R"({"touch":["k"]})", "invalid-json: touch: unexpected string"},
      {R"({"touch":[{"keys":["k"],"ttl":"1s"}]})", "invalid-type: touch[0]: type is missing"},
      {R"({"touch":[{"type":1,"ttl":"1s"}]})", "invalid-json: touch[0]: keys is missing"},
      {R"({"touch":[{"type":1,"keys":["a"],"ttl":"1s"},{"type":1,"keys":["k"]}]})",
       "invalid-ttl: touch[1]: ttl is missing"},
      {R"({"touch":[{"type":1,"keys":["k"],"ttl":1}]})",
       "invalid-json: touch[0]: unexpected number"},
      {R"({"touch":[{"type":1,"keys":["k"],"ttl":"1s","ttl":"1s"}]})",
       "invalid-json: touch[0]: a field is given twice"},
      {R"({"touch":[{"type":1,"data":{"k":"v"},"ttl":"1s"}]})",
       "invalid-json: touch[0]: unknown field \"data\""},
      {R"({"delete":[{"type":1,"keys":["k"],"ttl":"1s"}]})",
       "invalid-json: delete[0]: unknown field \"ttl\""},
      {R"({"data":[{"type":1,"keys":["k"]}]})", "invalid-json: data[0]: unknown field \"keys\""},
      {R"({"touch":[{"type":1,"keys":[1],"ttl":"1s"}]})",
       "invalid-json: touch[0]: unexpected number"},
      {R"({"touch":[{"type":1.5,"keys":["k"],"ttl":"1s"}]})",
       "invalid-type: touch[0]: type must be a 32-bit integer"},
      {R"({"touch":[{"type":1,"keys":[""],"ttl":"1s"}]})",
       "invalid-key: touch[0], key \"\": a key is 1 to 8 bytes of UTF-8 without NUL"},
      {R"({"touch":[{"type":1,"keys":["k","k"],"ttl":"1s"}]})",
       "invalid-json: type 1, key \"k\" is given twice"},
      {R"({"touch":[{"type":1,"keys":["k"],"ttl":"1s"}],"data":[{"type":1,"data":{"k":""}}]})",
       "invalid-json: type 1, key \"k\" is given twice"},
      {R"({"delete":[{"type":1,"keys":["k"]}],"touch":[{"type":1,"keys":["k"],"ttl":"1s"}]})",
       "invalid-json: type 1, key \"k\" is given twice"},
  };
  for (const auto& [body, expected] : examples) {
    CAPTURE(body);
    CHECK(Parsed(body) == expected);
  }
  CHECK(Parsed(R"({"data":[{"type":1,"data":{"k":""},"ttl":"0s"}]})")
            .starts_with("invalid-ttl: data[0]: ttl must be"));
  CHECK(Parsed(R"({"touch":[{"type":1,"keys":["k"],"ttl":"0s"}]})")
            .starts_with("invalid-ttl: touch[0]: ttl must be"));
}

TEST_CASE("batch: base64 is read strictly") {
  const auto put = [](const std::string& text) {
    return Parsed(R"({"data":[{"type":1,"data":{"k":{"base64":")" + text + R"("}}}]})");
  };
  CHECK(put("") == "1/k=\n");
  CHECK(put("YQ==") == "1/k=a\n");
  CHECK(put("YWE=") == "1/k=aa\n");
  CHECK(put("YWFh") == "1/k=aaa\n");
  // Without padding, with other padding, with bits left over, with spaces, of the URL's alphabet.
  for (const char* text : {"YQ", "YQ=", "YQ=.", "YQ..", "YQ===", "YR==", "YWF=", "Y Q==", " YQ==",
                           "YQ==\\n", "YQ==YQ==", "_w==", "Y"}) {
    CAPTURE(text);
    CHECK(put(text) == "invalid-json: data[0], key \"k\": not one base64 text");
  }
}

TEST_CASE("batch: a refusal shows the front of a long name, whole characters only") {
  const std::string x64(64, 'x');
  std::string umlauts = "x";
  for (int i = 0; i < 100; ++i) umlauts += "\xc3\xa4";
  CHECK(Parsed(R"({")" + x64 + R"(":1})") ==
        "invalid-json: the document: unknown field \"" + x64 + "\"");
  CHECK(Parsed(R"({")" + std::string(1'000'000, 'x') + R"(":1})") ==
        "invalid-json: the document: unknown field \"" + x64 + "\"");
  CHECK(Parsed(R"({")" + umlauts + R"(":1})") ==
        "invalid-json: the document: unknown field \"" + umlauts.substr(0, 63) + "\"");
  CHECK(Parsed(R"({"delete":[{"type":1,"keys":[")" + umlauts + R"("]}]})") ==
        "invalid-key: delete[0], key \"" + umlauts.substr(0, 63) +
            "\": a key is 1 to 8 bytes of UTF-8 without NUL");
}

TEST_CASE("batch: only UTF-8 without holes is JSON") {
  CHECK(Parsed("{\"data\":[{\"type\":1,\"data\":{\"\xff\":\"\"}}]}") ==
        "invalid-json: data[0].data: a text that is not UTF-8");
  CHECK(Parsed("{\"data\":[{\"type\":1,\"data\":{\"k\":\"\xc3\"}}]}") ==
        "invalid-json: data[0], key \"k\": a text that is not UTF-8");
  for (const char* text :
       {"\\udc00", "\\ud800", "\\ud800\\u0041", "\\ud800x", "\\x", "\n", "\\u12g4"}) {
    CAPTURE(text);
    CHECK(Parsed(R"({"data":[{"type":1,"data":{"k":")" + std::string(text) + R"("}}]})")
              .starts_with("invalid-json:"));
  }
  CHECK(Parsed(R"({"data":[{"type":1,"data":{"k":"\ud83d\ude00"}}]})") == "1/k=\xf0\x9f\x98\x80\n");
  CHECK(Parsed("{}\0"s) == "invalid-json: not JSON at byte 3");
  CHECK(Parsed("{}\0{}"s) == "invalid-json: not JSON at byte 3");
  CHECK(Parsed("{\"data\0\":[]}"s).starts_with("invalid-json:"));
}

TEST_CASE("batch: depth and count are bounded") {
  CHECK(Parsed(std::string(1'000'000, '[')) == "invalid-json: the document: unexpected array");
  CHECK(Parsed(R"({"data":[{"type":1,"data":)" + std::string(1'000'000, '{'))
            .starts_with("invalid-json:"));
  std::string many = R"({"delete":[{"type":1,"keys":[)";
  for (std::size_t i = 0; i <= sync::kMaxItems; ++i) {
    many += (i == 0 ? "\"" : ",\"") + std::to_string(i) + "\"";
  }
  CHECK(Parsed(many + "]}]}").starts_with("batch-too-large:"));
}

}  // namespace
}  // namespace podmirror::rest
