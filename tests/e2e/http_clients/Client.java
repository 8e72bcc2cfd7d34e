// What test_http_clients.py asks of every client, by java.net.http. Its argument is the daemon's URL.
// The client would like to speak HTTP/2 and says so in every request.

import java.io.ByteArrayInputStream;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpRequest.BodyPublisher;
import java.net.http.HttpRequest.BodyPublishers;
import java.net.http.HttpResponse;
import java.net.http.HttpResponse.BodyHandlers;
import java.time.Duration;

class Client {
  static final HttpClient client = HttpClient.newHttpClient();
  static String url;

  static HttpRequest.Builder to(String method, String key, BodyPublisher body) {
    return HttpRequest.newBuilder(URI.create(url + "/v1/cache/1/" + key))
        .timeout(Duration.ofSeconds(20))
        .method(method, body);
  }

  static HttpResponse<String> ask(int status, HttpRequest.Builder builder) throws Exception {
    HttpRequest request = builder.build();
    HttpResponse<String> answer = client.send(request, BodyHandlers.ofString());
    check(answer.statusCode() == status, request + ": " + answer + " " + answer.body());
    return answer;
  }

  static void check(boolean holds, String what) {
    if (!holds) throw new AssertionError(what);
  }

  public static void main(String[] args) throws Exception {
    url = args[0];
    BodyPublisher none = BodyPublishers.noBody();
    ask(200, to("PUT", "plain", BodyPublishers.ofString("hello")));
    HttpResponse<String> got = ask(200, to("GET", "plain", none));
    check(got.body().equals("hello"), got.body());
    String etag = got.headers().firstValue("ETag").get();
    ask(304, to("GET", "plain", none).header("If-None-Match", etag));
    HttpResponse<String> head = ask(200, to("HEAD", "plain", none));
    check(head.headers().firstValue("Content-Length").get().equals("5"), "length of HEAD");
    byte[] parts = "in parts".getBytes();
    ask(200, to("PUT", "chunked",
                BodyPublishers.ofInputStream(() -> new ByteArrayInputStream(parts))));
    ask(200, to("PUT", "expected", BodyPublishers.ofString("x".repeat(100000)))
                 .expectContinue(true));
    ask(200, to("DELETE", "plain", none));
    ask(404, to("GET", "plain", none));
  }
}
