import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.file.Files;
import java.nio.file.Path;

/** Sends a file with the default settings of Java's HttpClient and prints status and body. */
public class Detect {
    /** Takes the URL, the file, and pairs of header names and values. */
    public static void main(String[] arguments) throws Exception {
        HttpClient client = HttpClient.newHttpClient();
        HttpRequest.Builder request = HttpRequest.newBuilder(URI.create(arguments[0]));
        for (int at = 2; at < arguments.length; at += 2) {
            request.header(arguments[at], arguments[at + 1]);
        }
        byte[] body = Files.readAllBytes(Path.of(arguments[1]));
        request.POST(HttpRequest.BodyPublishers.ofByteArray(body));
        // Twice: the second request uses the connection of the first.
        for (int round = 0; round < 2; round++) {
            HttpResponse<String> response =
                    client.send(request.build(), HttpResponse.BodyHandlers.ofString());
            System.out.println(response.statusCode() + " " + response.body());
        }
    }
}
