// Asks Apache Kafka's own authorizer: rules and questions on standard input, one letter an answer.
//
//   world TAB allow everyone TAB super users     begins anew
//   acl   TAB type TAB name TAB pattern TAB principal TAB host TAB operation TAB permission
//   ask   TAB principal TAB host TAB operation TAB type TAB name
//   any   TAB principal TAB host TAB operation TAB type

import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.net.InetAddress;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import org.apache.kafka.common.Uuid;
import org.apache.kafka.common.acl.AclOperation;
import org.apache.kafka.common.acl.AclPermissionType;
import org.apache.kafka.common.resource.PatternType;
import org.apache.kafka.common.resource.ResourcePattern;
import org.apache.kafka.common.resource.ResourceType;
import org.apache.kafka.common.security.auth.KafkaPrincipal;
import org.apache.kafka.common.security.auth.SecurityProtocol;
import org.apache.kafka.common.utils.SecurityUtils;
import org.apache.kafka.metadata.authorizer.StandardAcl;
import org.apache.kafka.metadata.authorizer.StandardAuthorizer;
import org.apache.kafka.server.authorizer.Action;
import org.apache.kafka.server.authorizer.AuthorizableRequestContext;
import org.apache.kafka.server.authorizer.AuthorizationResult;

public class Judge {
    record Asker(KafkaPrincipal principal, InetAddress clientAddress) implements AuthorizableRequestContext {
        public String listenerName() { return "SASL"; }
        public SecurityProtocol securityProtocol() { return SecurityProtocol.SASL_PLAINTEXT; }
        public int requestType() { return 0; }
        public int requestVersion() { return 0; }
        public String clientId() { return ""; }
        public int correlationId() { return 0; }
    }

    static StandardAuthorizer authorizer;
    static Map<Uuid, StandardAcl> acls = new HashMap<>();

    static StandardAuthorizer begin(String allowEveryone, String superUsers) {
        StandardAuthorizer made = new StandardAuthorizer();
        made.configure(Map.of("node.id", "1", "super.users", superUsers,
            "allow.everyone.if.no.acl.found", allowEveryone));
        made.withPluginMetrics(new org.apache.kafka.common.metrics.PluginMetrics() {
            public org.apache.kafka.common.MetricName metricName(String n, String d, java.util.LinkedHashMap<String, String> t) {
                return new org.apache.kafka.common.MetricName(n, "g", d, t);
            }
            public void addMetric(org.apache.kafka.common.MetricName n, org.apache.kafka.common.metrics.MetricValueProvider<?> p) { }
            public void removeMetric(org.apache.kafka.common.MetricName n) { }
            public org.apache.kafka.common.metrics.Sensor addSensor(String n) {
                return new org.apache.kafka.common.metrics.Metrics().sensor(n);
            }
            public void removeSensor(String n) { }
        });
        acls = new HashMap<>();
        return made;
    }

    public static void main(String[] args) throws Exception {
        BufferedReader in = new BufferedReader(new InputStreamReader(System.in));
        StringBuilder out = new StringBuilder();
        boolean loaded = false;
        for (String line; (line = in.readLine()) != null; ) {
            String[] f = line.split("\t", -1);
            switch (f[0]) {
                case "world" -> {
                    if (out.length() > 0) out.append('\n');
                    authorizer = begin(f[1], f[2]);
                    loaded = false;
                }
                case "acl" -> acls.put(Uuid.randomUuid(), new StandardAcl(ResourceType.fromCode(Byte.parseByte(f[1])), f[2],
                    PatternType.fromCode(Byte.parseByte(f[3])), f[4], f[5], AclOperation.fromCode(Byte.parseByte(f[6])),
                    AclPermissionType.fromCode(Byte.parseByte(f[7]))));
                default -> {
                    if (!loaded) {
                        authorizer.loadSnapshot(acls);
                        authorizer.completeInitialLoad();
                        loaded = true;
                    }
                    Asker asker = new Asker(SecurityUtils.parseKafkaPrincipal(f[1]), InetAddress.getByName(f[2]));
                    AclOperation operation = AclOperation.fromCode(Byte.parseByte(f[3]));
                    ResourceType type = ResourceType.fromCode(Byte.parseByte(f[4]));
                    AuthorizationResult result = f[0].equals("any")
                        ? authorizer.authorizeByResourceType(asker, operation, type)
                        : authorizer.authorize(asker, List.of(new Action(operation,
                            new ResourcePattern(type, f[5], PatternType.LITERAL), 1, false, false))).get(0);
                    out.append(result == AuthorizationResult.ALLOWED ? 'A' : 'd');
                }
            }
        }
        System.out.println(out);
    }
}
