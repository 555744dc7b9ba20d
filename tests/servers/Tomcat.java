// Tomcat with one protected and one open location. Says which of them a request came under, and by which path.
// Arguments: a folder of its own. Prints its port; ends with its input.

import jakarta.servlet.http.HttpServlet;
import jakarta.servlet.http.HttpServletRequest;
import jakarta.servlet.http.HttpServletResponse;
import java.io.IOException;
import org.apache.catalina.Context;
import org.apache.catalina.startup.Tomcat;

class Echo {
    static HttpServlet location(String name) {
        return new HttpServlet() {
            @Override
            protected void service(HttpServletRequest request, HttpServletResponse response) throws IOException {
                String rest = request.getPathInfo();
                String path = request.getServletPath() + (rest == null ? "" : rest);
                response.setCharacterEncoding("UTF-8");
                response.getWriter().print(name + " " + path);
            }
        };
    }

    public static void main(String[] arguments) throws Exception {
        java.util.logging.LogManager.getLogManager().reset();
        Tomcat tomcat = new Tomcat();
        tomcat.setBaseDir(arguments[0]);
        tomcat.setPort(0);
        tomcat.getConnector().setProperty("address", "127.0.0.1");
        Context context = tomcat.addContext("", null);
        Tomcat.addServlet(context, "protected", location("protected"));
        Tomcat.addServlet(context, "open", location("open"));
        context.addServletMappingDecoded("/admin/*", "protected");
        context.addServletMappingDecoded("/", "open");
        tomcat.start();
        System.out.println(tomcat.getConnector().getLocalPort());
        while (System.in.read() >= 0) {}
        System.exit(0);
    }
}
