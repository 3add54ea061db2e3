//! The files, and the lines that are reported for them.

/// A virtual router on lb1 and lb2, lines 1 to 6; tests append to its table.
pub(crate) const PAIR: &str = r#"[pair]
nodes = { lb1 = "10.0.0.2", lb2 = "10.0.0.3" }
[vrrp.main]
interface = "eth0"
vrid = 51
vips = ["10.0.0.10/24"]
"#;

/// A listener on every address with its group, lines 1 to 5; tests append to the group's table.
pub(crate) const WEB: &str = r#"[listener.web]
bind = "0.0.0.0:80"
forward = "app"
[group.app]
targets = ["10.0.0.21:8080"]
"#;

/// What a file is, what it has in addition to one of the above, and what is reported.
pub(crate) type Case = (&'static str, &'static str, &'static [&'static str]);

/// Every kind of problem, in the order of the codes.
pub(crate) const CASES: &[Case] = &[
    // E001
    (
        PAIR,
        "priority = \"lb1\nversion = 3\n",
        &[
            "7:16: error[E001]: not TOML: invalid basic string, expected `\"`; the closing quote is missing",
        ],
    ),
    (
        PAIR,
        "advert_interval = 100ms\npreempt = yes\n",
        &[
            "7:19: error[E001]: not TOML: string values must be quoted, expected literal string; put it in quotes: \"100ms\"",
            "8:11: error[E001]: not TOML: string values must be quoted, expected literal string; did you mean true?",
        ],
    ),
    (
        PAIR,
        "[pair]\nkey_file = \"k\"\n",
        &[
            "7:2: error[E001]: not TOML: duplicate key; a table or key can be written once only: put both together",
        ],
    ),
    (
        WEB,
        "on_all_down = \"tri\"\n[listener.b]\nbind = [\"0.0.0.0:81\"\nforward = \"app\"\n[group.x]\ntargetz = 5\n",
        &[
            "6:15: error[E011]: `on_all_down` must be one of \"try\", \"503\", got \"tri\"; did you mean \"try\"?",
            "9:1: error[E001]: not TOML: missing comma between array elements, expected `,`; a list needs commas between its values and a `]` at its end",
        ],
    ),
    // E010
    (
        WEB,
        "drain = 5\n",
        &[
            "6:9: error[E010]: expected a duration like \"5s\", got the number 5; did you mean \"5s\"?",
        ],
    ),
    (
        WEB,
        "drain = \"5 min\"\n",
        &["6:9: error[E010]: expected a duration like \"5s\", got \"5 min\"; did you mean \"5m\"?"],
    ),
    (
        WEB,
        "[listener.web.limits]\nheader_bytes = 32768\nconnections = \"many\"\n",
        &[
            "7:16: error[E010]: expected a size like \"32KiB\", got the number 32768; did you mean \"32KiB\"?",
            "8:15: error[E010]: expected a whole number, got \"many\"",
        ],
    ),
    (
        WEB,
        "[listener.b]\nbind = \":81\"\nforward = \"app\"\n",
        &[
            "7:8: error[E010]: expected an address with port like \"192.0.2.10:80\", got \":81\"; did you mean \"0.0.0.0:81\"?",
        ],
    ),
    (
        PAIR,
        "unicast = \"yes\"\nvirtual_mac = \"no\"\ntrack = []\n",
        &[
            "7:11: error[E010]: expected true, false or a table like { lb1 = \"10.9.0.2\", lb2 = \"10.9.0.3\" }, got \"yes\"",
            "8:15: error[E010]: expected true or false, got \"no\"; did you mean false?",
            "9:9: error[E010]: expected a table like { key = value }, got a list",
        ],
    ),
    (
        PAIR,
        "[global]\naccess_log = { to = \"syslog\" }\n",
        &[
            "8:21: error[E010]: the access log cannot go to \"syslog\"; write the path of a file that begins with `/`, or \"stderr\", \"journal\" or \"off\"",
        ],
    ),
    // E011
    (
        PAIR,
        "checksum = \"rfc5789\"\n[global]\nlog = { level = \"verbose\" }\n",
        &[
            "7:12: error[E011]: `checksum` must be one of \"auto\", \"rfc5798\", \"rfc9568\", got \"rfc5789\"; did you mean \"rfc5798\"?",
            "9:17: error[E011]: `level` must be one of \"error\", \"warn\", \"info\", \"debug\", \"trace\", got \"verbose\"",
        ],
    ),
    (
        WEB,
        "algorithm = \"leastconn\"\n",
        &[
            "6:13: error[E011]: `algorithm` must be one of \"round_robin\", \"least_connections\", \"power_of_two\", \"first\", \"random\", { consistent_hash = \"source\" }, got \"leastconn\"; did you mean \"least_connections\"?",
        ],
    ),
    (
        WEB,
        "algorithm = \"consistent_hash\"\n",
        &[
            "6:13: error[E011]: `algorithm = \"consistent_hash\"` does not say what is hashed; write `algorithm = { consistent_hash = \"source\" }`",
        ],
    ),
    (
        WEB,
        "algorithm = { consistent_hash = \"header:X User\" }\n",
        &[
            "6:33: error[E011]: `consistent_hash` must be \"source\", \"path\", \"header:NAME\", \"cookie:NAME\" or \"query:NAME\", got \"header:X User\"",
        ],
    ),
    // E012
    (
        WEB,
        "algoritm = \"round_robin\"\nevery = \"5s\"\nzzz = 1\n",
        &[
            "6:1: error[E012]: unknown key `algoritm` in [group.app]; did you mean `algorithm`?",
            "7:1: error[E012]: unknown key `every` in [group.app]; it belongs under [group.app.health]",
            "8:1: error[E012]: unknown key `zzz` in [group.app]; known keys: algorithm, drain, health, http, limits, on_all_down, on_down, outlier, retry, send_proxy, slow_start, sticky, targets, timeouts, tls, udp",
        ],
    ),
    (
        PAIR,
        "interfaces = [\"eth1\"]\n[listeners.web]\nbind = \"10.0.0.10:80\"\n",
        &[
            "7:1: error[E012]: unknown key `interfaces` in [vrrp.main]; did you mean `interface`, or does it belong under [vrrp.main.track]?",
            "8:2: error[E012]: unknown key `listeners` in the file; did you mean `listener`?",
        ],
    ),
    // E012, as other programs call it
    (
        PAIR,
        "virtual_router_id = 3\nadvert-int = 1\n",
        &[
            "7:1: error[E012]: unknown key `virtual_router_id` in [vrrp.main]; did you mean `vrid`?",
            "8:1: error[E012]: unknown key `advert-int` in [vrrp.main]; did you mean `advert_interval`?",
        ],
    ),
    // E013
    (
        WEB,
        "[[listener.web.rule]]\nwhen = { path = \"/a\" }\nforward = \"app\"\n[[listener.web.rule]]\nwhen = { path = \"/b\" }\n",
        &[
            "9:1: error[E013]: missing key `forward` in number 2 of [[listener.web.rule]]; add for example `forward = \"app\"` or `respond = 404`",
        ],
    ),
    (
        "",
        "",
        &[
            "1:1: error[E013]: the file has neither a virtual router nor a listener; add a [vrrp.NAME] or a [listener.NAME]",
        ],
    ),
    (
        PAIR,
        "[vrrp.other]\ninterface = \"eth1\"\n[listener.web]\n",
        &[
            "7:1: error[E013]: missing key `vrid` in [vrrp.other]; add for example `vrid = 51`",
            "7:1: error[E013]: missing key `vips` in [vrrp.other]; add for example `vips = [\"192.0.2.10/24\"]`",
            "9:1: error[E013]: missing key `bind` in [listener.web]; add for example `bind = \"192.0.2.10:80\"`",
            "9:1: error[E013]: missing key `forward` in [listener.web]; add for example `forward = \"app\"` or `respond = 404`",
        ],
    ),
    (
        PAIR,
        "priority = { lb1 = 150 }\n",
        &[
            "7:14: error[E013]: `priority` has no value for node `lb2`; give every node a value, or one value for all",
        ],
    ),
    // E014
    (
        WEB,
        "health = { every = \"1s\", timeout = \"1s\", rise = 0 }\n",
        &[
            "6:36: error[E014]: `timeout` must be shorter than `every`, got 1s and 1s",
            "6:49: error[E014]: `rise` must be from 1 to 100, got 0",
        ],
    ),
    (
        PAIR,
        "priority = 256\nvip_lease = \"1500ms\"\n[vrrp.b]\ninterface = \"eth1\"\nvrid = 0\nvips = [\"10.1.0.0/24\"]\n",
        &[
            "7:12: error[E014]: `priority` must be from 1 to 255, got 256",
            "8:13: error[E014]: `vip_lease` must be whole seconds, got 1500ms; did you mean \"2s\"?",
            "11:8: error[E014]: `vrid` must be from 1 to 255, got 0",
            "12:9: error[E014]: 10.1.0.0 is the network or broadcast address of 10.1.0.0/24",
        ],
    ),
    (
        WEB,
        "algorithm = { consistent_hash = \"source\", vnodes = 1025 }\n",
        &["6:52: error[E014]: `vnodes` must be from 1 to 1024, got 1025"],
    ),
    (
        WEB,
        "algorithm = { consistent_hash = \"path\", vnodes = 0 }\n",
        &["6:50: error[E014]: `vnodes` must be from 1 to 1024, got 0"],
    ),
    (
        "[listener.web]\nbind = \"0.0.0.0:80\"\nforward = \"app\"\n[group.app]\n",
        "targets = [{ address = \"10.0.0.21:80\", weight = 999 }, { address = \"10.0.0.22:80\", weight = 999 }]\nalgorithm = { consistent_hash = \"path\", vnodes = 1024 }\n",
        &[
            "6:13: error[E014]: the ring of group `app` would have 2045952 points (vnodes by the sum of the weights), more than 1048576; give lower weights, or fewer `vnodes`",
        ],
    ),
    // E020
    (
        "[pair]\nnodes = { a = \"10.0.0.2\", b = \"10.0.0.3\" }\n[listener.x]\nbind = \"0.0.0.0:99\"\nrespond = \"close\"\n",
        "",
        &[
            "2:9: error[E020]: this host, `lb1`, is no node in pair.nodes (a, b); write its host name there, or choose one with `--node`",
        ],
    ),
    (
        PAIR,
        "priority = { lb1 = 200, lb2 = 100, lb3 = 50 }\n",
        &["7:36: error[E020]: no node `lb3` in pair.nodes (lb1, lb2); use the names of [pair]"],
    ),
    // E021
    (
        WEB,
        "[listener.b]\nbind = \"0.0.0.0:81\"\nforward = \"apq\"\n[listener.c]\nbind = \"0.0.0.0:82\"\nforward = \"mail\"\n",
        &[
            "8:11: error[E021]: listener `b` forwards to group `apq`, which does not exist; closest: `app` (line 4)",
            "11:11: error[E021]: listener `c` forwards to group `mail`, which does not exist; add [group.mail]",
        ],
    ),
    (
        PAIR,
        "track = { forwarder = true }\n",
        &[
            "7:23: error[E021]: `forwarder = true`, but without a listener no forwarder runs; remove the line, or add a [listener.NAME]",
        ],
    ),
    // E022
    (
        WEB,
        "[listener.b]\nbind = [\"0.0.0.0:81\", \"0.0.0.0:80\"]\nprotocol = \"tcp\"\nforward = \"app\"\n",
        &[
            "7:23: error[E022]: 0.0.0.0:80 is bound by listener `web` already (line 2); remove one of the two",
        ],
    ),
    (
        PAIR,
        "[listener.x]\nbind = \"10.0.0.10:99\"\nforward = \"a\"\nrespond = \"close\"\n[group.a]\ntargets = [\"10.0.0.21:1\", \"10.0.0.21:1\"]\n",
        &[
            "10:1: error[E022]: `forward` and `respond` exclude each other; remove one of the two",
            "12:27: error[E022]: target 10.0.0.21:1 is already there in line 12; remove one of the two",
        ],
    ),
    // E023
    (
        PAIR,
        "[listener.x]\nbind = [\"10.0.0.11:99\", \"10.0.0.2:99\", \"10.0.0.3:99\", \"127.0.0.1:99\", \"[::]:99\"]\nrespond = \"close\"\n",
        &[
            "8:9: error[E023]: 10.0.0.11 is neither a VIP nor an address of this node; write for example \"10.0.0.10:99\", or \"0.0.0.0:99\" for every address",
            "8:40: error[E023]: 10.0.0.3 is neither a VIP nor an address of this node (it is node `lb2`'s); write for example \"10.0.0.10:99\", or \"0.0.0.0:99\" for every address",
        ],
    ),
    // E024
    (
        PAIR,
        "[vrrp.b]\ninterface = \"eth1\"\nvrid = 52\nvips = [\"10.0.0.10/32\", \"10.0.0.3/24\"]\n",
        &[
            "10:9: error[E024]: VIP 10.0.0.10 belongs to virtual router `main` already (line 6); remove one of the two",
            "10:25: error[E024]: VIP 10.0.0.3 is the address of node `lb2`; a VIP needs an address that no node has of its own",
        ],
    ),
    // E025
    (
        PAIR,
        "[vrrp.b]\ninterface = { lb1 = \"eth1\", lb2 = \"eth0\" }\nvrid = 51\nvips = [\"10.0.0.11/24\"]\n",
        &[
            "9:8: error[E025]: vrid 51 is used on eth0 by virtual router `main` already (line 5); give it another vrid, or put the VIPs of both into one table",
        ],
    ),
    (
        PAIR,
        "advert_interval = \"41s\"\n",
        &[
            "7:19: error[E025]: `advert_interval` must be from 10ms to 40.95s in steps of 10ms, got 41s",
        ],
    ),
    (
        PAIR,
        "version = 2\nadvert_interval = \"1500ms\"\n",
        &[
            "8:19: error[E025]: `advert_interval` must be whole seconds from 1s to 40s in version 2, got 1500ms",
        ],
    ),
    // E026
    (
        "[vrrp.main]\ninterface = \"eth0\"\nvrid = 1\nversion = 2\nvips = [\"fd00::1/64\"]\n",
        "",
        &[
            "5:9: error[E026]: VIP fd00::1 is IPv6, but version 2 knows IPv4 only; give it a [vrrp.NAME] of its own with `version = 3`",
        ],
    ),
    (
        PAIR,
        "unicast = { lb1 = \"fd00::2\", lb2 = \"fd00::3\" }\n",
        &[
            "7:11: error[E026]: VIP 10.0.0.10 is IPv4, but the unicast addresses are IPv6; remove `unicast`, or give the IPv4 VIPs a [vrrp.NAME] of their own",
        ],
    ),
    // E027
    (
        PAIR,
        "group = \"edge\"\n[vrrp.inner]\ninterface = \"eth1\"\nvrid = 52\nvips = [\"10.1.0.10/24\"]\ngroup = \"edge\"\npriority = { lb1 = 150, lb2 = 200 }\npreempt = false\n",
        &[
            "12:9: error[E027]: group `edge` is one decision, but `main` and `inner` differ in `priority`; give both the same `priority`",
            "12:9: error[E027]: group `edge` is one decision, but `main` and `inner` differ in `preempt`; give both the same `preempt`",
        ],
    ),
    (
        PAIR,
        "group = \"edge\"\npriority = 100\n[vrrp.inner]\ninterface = \"eth1\"\nvrid = 52\nvips = [\"10.1.0.10/24\"]\ngroup = \"edge\"\npriority = { lb1 = 100, lb2 = 100 }\n[vrrp.third]\ninterface = \"eth2\"\nvrid = 53\nvips = [\"10.2.0.10/24\"]\ngroup = \"egde\"\n",
        &[
            "8:12: warning[W072]: two nodes have the same priority: the higher address wins; write for example `priority = { lb1 = 200, lb2 = 100 }`",
            "14:20: warning[W072]: two nodes have the same priority: the higher address wins; write for example `priority = { lb1 = 200, lb2 = 100 }`",
            "19:9: warning[E051]: group `egde` has this virtual router only; name it in another [vrrp.NAME] as well, or remove the line",
        ],
    ),
    // E030, E031, E032 and E033
    (
        WEB,
        "[[listener.web.rule]]\nwhen = { path = \"/api/*\" }\nforward = \"app\"\n[[listener.web.rule]]\nname = \"v1\"\nwhen = { path = \"/api/v1/*\", method = \"GET\" }\nforward = \"app\"\n",
        &[
            "9:1: warning[E030]: rule \"v1\" is never reached: rule 1 (line 6) matches everything it matches; put it before that rule, or remove it",
        ],
    ),
    (
        WEB,
        "[[listener.web.rule]]\nwhen = { path = \"api\", host = \"shop\", source = \"10.0.0.0/33\" }\nredirect = { host = \"#{host}\" }\n",
        &[
            "7:17: error[E031]: the path pattern \"api\" does not begin with `/`, so it matches nothing; did you mean \"/api\"?",
            "7:31: error[E031]: the host pattern \"shop\" has no dot, so it matches no full name; did you mean \"shop.example.com\"?",
            "7:48: error[E031]: \"10.0.0.0/33\" is neither an address nor a prefix like \"10.0.0.0/8\"",
            "8:12: error[E032]: the redirect leads to itself; change at least one of scheme, host, port, path and query",
        ],
    ),
    (
        WEB,
        "[[listener.web.rule]]\nname = \"a\"\nwhen = { path = [\"/a/../b\", \"/a b\"], method = \"get\", host = [], header = { \"x y\" = \"1\", X = [] }, not = {} }\nforward = \"app\"\n[[listener.web.rule]]\nname = \"a\"\nwhen = { query = { \"\" = \"1\" }, cookie = { \"a;b\" = \"1\" }, sni = \"a.example\" }\nforward = \"app\"\n[[listener.web.rule]]\nname = \"7\"\nforward = \"app\"\n",
        &[
            "8:18: error[E031]: the path pattern \"/a/../b\" matches nothing: `//`, `/./` and `/../` are resolved before rules are asked",
            "8:29: error[E031]: the path pattern \"/a b\" contains \" \" (at offset 2), which no path does",
            "8:47: error[E031]: methods are compared exactly, and \"get\" is none; did you mean \"GET\"?",
            "8:61: error[E031]: `host` is empty, so it matches nothing; remove it, or name a value",
            "8:76: error[E031]: \"x y\" is no name of a header",
            "8:93: error[E031]: `X` has no value, so it matches nothing; write \"*\" for any value",
            "8:105: error[E031]: `not` without a condition matches nothing; name what must not hold",
            "11:8: error[E022]: rule name \"a\" is already there in line 7; remove one of the two",
            "12:20: error[E031]: \"\" is no name of a query",
            "12:43: error[E031]: \"a;b\" is no name of a cookie",
            "12:58: error[E041]: `sni` cannot be known on a listener of protocol http; remove the condition",
            "15:8: error[E014]: \"7\" would be taken for the number of a rule; give it a name with a letter",
        ],
    ),
    (
        WEB,
        "[[listener.web.rule]]\nwhen = { path = \"/a\" }\nredirect = { host = \"a b\", path = \"shop\", query = \"#{pth}\", status = 300 }\nset_headers = { Content-Length = \"1\", X-A = \"b\\r\\nX: y\", \"x y\" = \"1\" }\nremove_headers = [\"Host\"]\nset_answer_headers = { Connection = \"close\" }\n[[listener.web.rule]]\nwhen = { path = \"/b\" }\nrespond = { status = 204, body = \"x\" }\n[[listener.web.rule]]\nwhen = { path = \"/c\" }\nredirect = { host = \"a.example:81\", path = \"/#{query}\" }\n",
        &[
            "8:21: error[E031]: ' ' cannot stand in this part of a URL; variables are #{protocol}, #{host}, #{port}, #{path} and #{query}",
            "8:35: error[E031]: the path \"shop\" does not begin with `/`; did you mean \"/shop\"?",
            "8:51: error[E031]: there is no variable #{pth}; there are protocol, host, port, path, query; variables are #{protocol}, #{host}, #{port}, #{path} and #{query}",
            "8:70: error[E011]: `status` must be one of 301, 302, 303, 307, 308, got 300",
            "9:17: error[E031]: the header Content-Length is written by the balancer and cannot be changed; remove it",
            "9:45: error[E031]: the value of a header cannot contain '\\r'",
            "9:58: error[E031]: \"x y\" is no name of a header",
            "10:19: error[E031]: the header Host is written by the balancer and cannot be changed; remove it",
            "11:24: error[E031]: the header Connection is written by the balancer and cannot be changed; remove it",
            "14:34: error[E014]: an answer of status 204 has no body; remove `body`",
            "17:21: error[E031]: the port does not belong to `host`; give it as `port`",
            "17:44: error[E031]: #{query} has no meaning in `path`",
        ],
    ),
    (
        WEB,
        "health = { http = \"healthz\" }\n[listener.b]\nbind = \"0.0.0.0:81\"\nforward = { app = 0 }\n",
        &[
            "6:19: error[E031]: expected a path like \"/healthz\", got \"healthz\"; did you mean \"/healthz\"?",
            "9:11: error[E033]: a weight for a single group changes nothing; write \"app\"",
        ],
    ),
    (
        "[listener.web]\nbind = \"0.0.0.0:80\"\nforward = \"app\"\n[group.app]\n",
        "targets = [{ address = \"10.0.0.21:80\", weight = 0 }]\n",
        &[
            "5:11: error[E033]: every target has weight 0, so none gets any traffic; give at least one of them a weight",
        ],
    ),
    // E041
    (
        PAIR,
        "[listener.db]\nbind = \"10.0.0.10:5432\"\nrespond = \"close\"\ntimeouts = { header = \"10s\" }\n",
        &[
            "10:14: error[E041]: `header` is for http, but the listener's protocol is tcp; remove it, or write `protocol = \"http\"`",
        ],
    ),
    (
        PAIR,
        "[listener.web]\nbind = \"10.0.0.10:443\"\nrespond = \"close\"\n",
        &[
            "7:1: error[E041]: the https listener [listener.web] has no certificate; add a `tls` table with `certificates = [\"NAME\"]`",
        ],
    ),
    (
        PAIR,
        "version = 2\nchecksum = \"rfc9568\"\n",
        &[
            "8:1: error[E041]: `checksum` is for version 3 over IPv4: everywhere else there is one form only; remove the line",
        ],
    ),
    (
        PAIR,
        "off_link = \"strict\"\nother_list = \"drop\"\nskip_check_adv_addr = true\n",
        &[
            "7:12: error[E011]: `off_link` must be one of \"accept\", \"drop\", got \"strict\"",
            "9:1: error[E012]: unknown key `skip_check_adv_addr` in [vrrp.main]; did you mean `other_list`?",
        ],
    ),
    (
        PAIR,
        "off_link = \"drop\"\nunicast = true\n",
        &[
            "7:1: error[E041]: `off_link` is for multicast: over unicast nobody but the other nodes is believed; remove the line",
        ],
    ),
    (
        "",
        "[vrrp.main]\ninterface = \"eth0\"\nvrid = 51\nvips = [\"fd00::10/64\"]\noff_link = \"drop\"\n",
        &[
            "5:1: error[E041]: `off_link` is for IPv4: over IPv6 no other than link-local addresses are believed; remove the line",
        ],
    ),
    (
        WEB,
        "algorithm = { consistent_hash = \"cookie:SID\" }\n[listener.raw]\nbind = \"0.0.0.0:81\"\nprotocol = \"tcp\"\nforward = \"app\"\n",
        &[
            "6:13: error[E041]: group `app` hashes `cookie:SID`, which listener `raw` cannot see: its protocol is tcp; write `consistent_hash = \"source\"`",
        ],
    ),
    (
        PAIR,
        "auth = { password_file = \"/p\", hmac_file = \"/k\" }\n",
        &["7:26: error[E041]: version 3 has no password; write `version = 2`, or an `hmac_file`"],
    ),
    (
        PAIR,
        "version = 2\nadvert_interval = \"1s\"\nauth = { hmac_file = \"/k\", mode = \"enforce\" }\n",
        &[
            "9:22: error[E041]: version 2 has no authentication by HMAC; write `version = 3` on both nodes, or a `password_file`",
            "9:28: error[E041]: `mode` goes with `hmac_file`; remove it",
        ],
    ),
    (
        PAIR,
        "unicast = true\nunicast_min_ttl = 250\nauth = { hmac_file = \"/k\", mode = \"permissive\" }\n",
        &[
            "8:1: error[E041]: `unicast_min_ttl` believes what comes through routers, where anybody may send it; add `auth = { hmac_file = \"/etc/tandem/vrrp.key\" }`, whose mode is enforce",
        ],
    ),
    (
        PAIR,
        "unicast_min_ttl = 250\nauth = { hmac_file = \"/k\" }\n",
        &[
            "7:1: error[E041]: `unicast_min_ttl` is for unicast; add `unicast = true`, or remove the line",
        ],
    ),
    (
        PAIR,
        "[vrrp.main.evidence]\naddress_answers = \"held\"\nheard = true\n",
        &[
            "8:19: error[E011]: `address_answers` must be one of \"hold\", \"promote\", got \"held\"; did you mean \"hold\"?",
            "9:1: error[E012]: unknown key `heard` in [vrrp.main.evidence]; known keys: address_answers, peer_lives",
        ],
    ),
    (
        "",
        "[pair]\nnodes = { lb1 = \"10.0.0.2\", lb2 = \"10.0.0.3\" }\nheartbeat = { lb1 = \"10.9.0.2:1\", lb2 = \"[fd09::3]:1\" }\n[vrrp.a]\ninterface = \"eth0\"\nvrid = 1\nvips = [\"10.0.0.10/24\"]\n",
        &[
            "1:1: error[E013]: missing key `key_file` in [pair]; add for example `key_file = \"/etc/tandem/pair.key\"`",
            "3:13: error[E026]: 10.9.0.2:1 and [fd09::3]:1 are not of one family; use addresses of one network",
        ],
    ),
    (
        "",
        "[pair]\nnodes = { lb1 = \"10.0.0.2\", lb2 = \"10.0.0.3\" }\nkey_file = \"/k\"\nheartbeat = \"10.9.0.2:1\"\n[vrrp.a]\ninterface = \"eth0\"\nvrid = 1\nvips = [\"10.0.0.10/24\"]\n",
        &[
            "4:13: error[E013]: `heartbeat` has an address for each of two nodes; write for example { lb1 = \"10.9.0.2:5112\", lb2 = \"10.9.0.3:5112\" }",
        ],
    ),
    // E050
    (
        WEB,
        "health = { tcp = true, status = 200 }\n",
        &["6:24: error[E050]: `status` is for a check by http; remove it"],
    ),
    (
        WEB,
        "health = { udp = { send = \"a\" }, port = 1, tls = true }\n",
        &[
            "6:18: error[E050]: the health check of group `app` does not fit listener `web`, whose protocol is http; check by `http` or `tcp`",
            "6:50: error[E050]: `tls` is for checks over connections, not for those by udp; remove it",
        ],
    ),
    (
        WEB,
        "[listener.b]\nbind = \"0.0.0.0:81\"\nforward = \"b\"\n[group.b]\ntargets = [{ address = \"10.0.0.9:1\", check = \"10.0.0.9:2\" }]\nhealth = \"off\"\n",
        &[
            "10:46: warning[E051]: group `b` has `health = \"off\"`: nobody is checked there; remove `check`, or say how the group is checked",
        ],
    ),
    (
        WEB,
        "[listener.b]\nbind = \"0.0.0.0:81\"\nforward = \"b\"\n[group.b]\ntargets = [{ address = \"10.0.0.9:1\", check = \"10.0.0.9\" }]\nhealth = { tcp = true, tls = \"off\" }\n",
        &[
            "10:46: error[E010]: expected an address with port like \"10.9.0.21:9000\", got \"10.0.0.9\" without a port; write \"10.0.0.9:PORT\"",
            "11:30: error[E010]: expected true or false, got \"off\"; did you mean false?",
        ],
    ),
    (
        WEB,
        "health = { grpc = \"shop.Orders\" }\n",
        &[
            "6:19: error[E050]: the targets of group `app` are checked by `grpc` and spoken to in HTTP/1.1, which has no such calls; write `http = \"2\"` in the group, or give the check a `port` of its own",
        ],
    ),
    (
        WEB,
        "http = \"2\"\nhealth = { grpc = \"\", host = \"a\", body = \"x\" }\n",
        &["7:35: error[E050]: `body` is for a check by http; remove it"],
    ),
    (
        WEB,
        "http = \"2\"\nhealth = { grpc = \"a b\" }\n",
        &["7:19: error[E031]: the name of a service cannot contain ' '"],
    ),
    (
        WEB,
        "health = { http = \"/\" }\n[listener.dns]\nbind = \"0.0.0.0:53\"\nprotocol = \"udp\"\nforward = \"app\"\n",
        &[
            "6:19: error[E050]: the health check of group `app` does not fit listener `dns`, whose protocol is udp; check by `udp`, or give the check a `port` of its own",
        ],
    ),
    (
        WEB,
        "health = { udp = { send = \"hex:0\", expect = \"\" } }\n[group.b]\ntargets = [\"10.0.0.9:53\"]\nudp = { idle = \"1ms\", responses = 0 }\nhealth = { udp = { expect = \"any\" } }\n",
        &[
            "6:27: error[E031]: `hex:` needs pairs of hexadecimal digits, got \"hex:0\"",
            "6:45: error[E010]: expected a text, or \"hex:\" and pairs of hexadecimal digits, got \"\"",
            "7:1: warning[E051]: group `b` is used by no listener; forward to it, or remove it",
            "9:1: warning[E051]: no udp listener forwards to group `b`; remove `udp`",
            "9:16: error[E014]: `idle` must be from 100ms to 1d, got 1ms",
            "9:35: error[E014]: `responses` must be from 1 to 1000000, got 0",
            "10:18: error[E013]: missing key `send` in [group.b.health.udp]; add for example `send = \"hex:0000\"`",
        ],
    ),
    (
        "",
        "[listener.dns]\nbind = \"0.0.0.0:53\"\nprotocol = \"udp\"\nforward = \"b\"\n[group.b]\ntargets = [\"10.0.0.9:53\"]\n",
        &[
            "5:1: error[E050]: group `b` gets datagrams from listener `dns` and does not say how its targets are checked; add `health = { udp = { send = \"...\" } }`, or `health = \"off\"`",
        ],
    ),
    // E041
    (
        WEB,
        "send_proxy = \"v1\"\nhttp = \"2\"\n",
        &[
            "6:14: error[E041]: group `app` speaks HTTP/2 to its targets, whose connections are shared by clients and cannot carry the address of one; remove `send_proxy`, or write `http = \"1.1\"`",
        ],
    ),
    (
        WEB,
        "[listener.a]\nbind = \"0.0.0.0:81\"\nprotocol = \"tcp\"\naccept_proxy = true\nforward = \"app\"\n[listener.b]\nbind = \"0.0.0.0:82\"\nprotocol = \"udp\"\naccept_proxy = true\nforward = \"b\"\n[group.b]\ntargets = [\"10.0.0.9:53\"]\nhealth = \"off\"\nsend_proxy = \"v2\"\n",
        &[
            "9:16: error[E041]: `accept_proxy = true`, but nobody is believed; add `trusted_proxies = [\"192.0.2.0/24\"]` to [global]",
            "14:16: error[E041]: `accept_proxy` is for connections, but the listener's protocol is udp; remove it",
            "19:14: error[E041]: `send_proxy` is for connections, but listener `b` forwards datagrams to group `b`; remove it, or write `send_proxy = \"off\"` in the group",
        ],
    ),
    // E051
    (
        WEB,
        "[group.old]\ntargets = [\"10.0.0.9:80\"]\n[group.none]\ntargets = []\n",
        &[
            "6:1: warning[E051]: group `old` is used by no listener; forward to it, or remove it",
            "8:1: warning[E051]: group `none` is used by no listener; forward to it, or remove it",
            "9:11: error[E051]: the group has no targets; write at least one like \"10.0.0.21:8080\"",
        ],
    ),
    // E052
    (
        PAIR,
        "[listener.web]\nbind = \"0.0.0.0:80\"\nforward = \"app\"\n[group.app]\ntargets = [\"10.0.0.10:8080\", \"10.0.0.3:80\", \"127.0.0.1:80\", \"127.0.0.1:81\"]\n",
        &[
            "11:12: error[E052]: target 10.0.0.10:8080 is a VIP: traffic would come back here; write the target's own address",
            "11:30: error[E052]: target 10.0.0.3:80 is listener `web` (line 7) of this file; write the target's own address",
            "11:45: error[E052]: target 127.0.0.1:80 is listener `web` (line 7) of this file; write the target's own address",
        ],
    ),
    (
        WEB,
        "[defaults.group]\noutlier = { consecutive_errors = 0, eject = \"30s\", max_ejected = 50 }\nretry = { tries = 11, budget = \"20 %\" }\nlimits = { per_target = 0 }\nslow_start = 30\nhealth = { http = \"/\", body = \"\" }\n",
        &[
            "7:34: error[E014]: `consecutive_errors` must be from 1 to 10000, got 0",
            "7:66: error[E010]: expected a percentage like \"50%\", got the number 50",
            "8:19: error[E014]: `tries` must be from 0 to 10, got 11",
            "8:32: error[E010]: expected a percentage like \"50%\", got \"20 %\"",
            "9:25: error[E014]: `per_target` must be from 1 to 1000000, got 0",
            "10:14: error[E010]: expected a duration like \"5s\", got the number 30; did you mean \"30s\"?",
            "11:31: error[E010]: expected a text like \"ready\", got \"\"",
        ],
    ),
    (
        WEB,
        "limits = { queue = 5 }\n",
        &[
            "6:12: warning[E051]: nobody ever waits, because `per_target` is not given; add per_target = 500, or remove the line",
        ],
    ),
    (
        WEB,
        "health = { tcp = true, body = \"x\" }\n",
        &["6:24: error[E050]: `body` is for a check by http; remove it"],
    ),
    // Clients that cannot stay where they are told to: E031, E033, E041, E022, W075
    (
        WEB,
        "sticky = { cookie = \"MY COOKIE\", ttl = \"0s\" }\n",
        &[
            "6:21: error[E031]: \"MY COOKIE\" is no name of a cookie; use up to 64 letters, digits, `-` and `_`",
            "6:40: error[E014]: `ttl` must be from 1s to 400d, got 0s",
        ],
    ),
    (
        WEB,
        "sticky = { ttl = \"1d\" }\n[[listener.web.rule]]\nsticky = true\nforward = \"app\"\n",
        &[
            "6:10: error[E013]: missing key `cookie` in [group.app.sticky]; add for example `cookie = \"TANDEM\"`",
            "8:10: error[E010]: expected \"off\" or a table like { cookie = \"TANDEM\", ttl = \"1d\" }, got true",
        ],
    ),
    (
        WEB,
        "sticky = { cookie = \"T\" }\n[listener.raw]\nbind = \"0.0.0.0:81\"\nprotocol = \"tcp\"\nforward = \"app\"\n",
        &[
            "6:10: error[E041]: group `app` binds by a cookie, which listener `raw` cannot see: its protocol is tcp; write `sticky = \"off\"`, and for example `algorithm = { consistent_hash = \"source\" }`",
            "6:10: warning[W075]: when the forwarder starts again it does not know its cookies: there is no key of a pair; add a [pair] with this node and a `key_file`",
        ],
    ),
    (
        "",
        "[pair]\nnodes = { lb1 = \"10.0.0.2\", lb2 = \"10.0.0.3\" }\n[listener.web]\nbind = \"0.0.0.0:80\"\nforward = { a = 9, b = 1 }\n[[listener.web.rule]]\nforward = { a = 9, b = 1 }\nsticky = { cookie = \"T\" }\n[[listener.web.rule]]\nwhen = { path = \"/\" }\nforward = \"a\"\nsticky = { cookie = \"G\" }\n[group.a]\ntargets = [\"10.0.0.21:80\"]\n[group.b]\ntargets = [\"10.0.0.22:80\"]\nsticky = { cookie = \"T\" }\n",
        &[
            "3:1: error[E033]: clients cannot stay with a target of group `b`: here the group is drawn anew for each request; add to the rule `sticky = { cookie = \"TANDEM_GROUP\", ttl = \"1h\" }`",
            "8:10: error[E022]: the cookie `T` cannot say both which group and, as in group `b`, which target; call one of them for example `T_GROUP`",
            "8:10: warning[W075]: after a failover the other node does not know these cookies: there is no key of the pair; add `key_file = \"/etc/tandem/pair.key\"` to [pair]",
            "9:1: warning[E030]: rule 2 is never reached: rule 1 (line 6) matches everything it matches; put it before that rule, or remove it",
            "12:10: error[E033]: `sticky` of a rule chooses between several groups, and there are not several; remove it; to stay with a target, write it in the group",
        ],
    ),
    (
        "",
        "[pair]\nnodes = { lb1 = \"10.0.0.2\" }\nkey_file = \"/k\"\n[listener.web]\nbind = \"0.0.0.0:80\"\nforward = \"a\"\n[[listener.web.rule]]\nwhen = { path = \"/b\" }\nforward = \"b\"\n[[listener.web.rule]]\nwhen = { host = \"c.example.com\" }\nforward = \"c\"\n[group.a]\ntargets = [\"10.0.0.21:80\"]\n[group.b]\ntargets = [\"10.0.0.22:80\"]\n[group.c]\ntargets = [\"10.0.0.23:80\"]\n[defaults.group]\nsticky = { cookie = \"T\" }\n",
        &[
            "20:10: warning[E022]: groups `b` and `a` serve the same hosts and bind by the same cookie `T`: a client of both stays with neither; give each group a cookie of its own",
        ],
    ),
    // Clients with certificates: E011, E013; W076
    (
        "",
        "[listener.web]\nbind = \"0.0.0.0:443\"\nrespond = 404\n[listener.web.tls]\ncertificates = [\"a\"]\nclient_ca = \"/ca\"\nclient_certificate = \"ask\"\n[certificate.a]\ncert = \"/a\"\nkey = \"/a\"\n",
        &[
            "1:1: warning[W076]: TLS sessions end when the forwarder does: there is no key of a pair to make tickets with; add a [pair] with this node and a `key_file`",
            "7:22: error[E011]: `client_certificate` must be one of \"require\", \"allow\", got \"ask\"",
        ],
    ),
    (
        "",
        "[pair]\nnodes = { lb1 = \"10.0.0.2\", lb2 = \"10.0.0.3\" }\n[listener.web]\nbind = \"0.0.0.0:443\"\nrespond = 404\n[listener.web.tls]\ncertificates = [\"a\"]\nclient_crl = \"/crl\"\nclient_certificate = \"allow\"\n[certificate.a]\ncert = \"/a\"\nkey = \"/a\"\n",
        &[
            "3:1: warning[W076]: after a failover the other node resumes no TLS session: there is no key of the pair to make tickets with; add `key_file = \"/etc/tandem/pair.key\"` to [pair]",
            "8:1: error[E013]: `client_crl` without `client_ca`; add `client_ca = \"/etc/tandem/clients.pem\"`, or remove it",
            "9:1: error[E013]: `client_certificate` without `client_ca`; add `client_ca = \"/etc/tandem/clients.pem\"`, or remove it",
        ],
    ),
    // A certificate for targets
    (
        WEB,
        "tls = { certificate = \"ours\" }\n[certificate.our]\ncert = \"/a\"\nkey = \"/a\"\n[certificate.spare]\ncert = \"/a\"\nkey = \"/a\"\n",
        &[
            "6:23: error[E021]: group `app` shows its targets certificate `ours`, which does not exist; closest: `our` (line 7)",
            "7:1: warning[E051]: certificate `our` is used by no listener and no group; name it in `certificates` of a listener or in `tls` of a group, or remove it",
            "10:1: warning[E051]: certificate `spare` is used by no listener and no group; name it in `certificates` of a listener or in `tls` of a group, or remove it",
        ],
    ),
    // W074
    (
        PAIR,
        "accept_mode = false\npriority = { lb1 = 200, lb2 = 100 }\n[listener.x]\nbind = \"10.0.0.10:99\"\nrespond = \"close\"\n",
        &[
            "10:8: warning[W074]: no client reaches 10.0.0.10:99: virtual router `main` does not take packets to its VIPs; add `accept_mode = true` to [vrrp.main]",
        ],
    ),
    // The owner takes them.
    (
        PAIR,
        "accept_mode = false\npriority = { lb1 = 255, lb2 = 100 }\n[listener.x]\nbind = \"10.0.0.10:99\"\nrespond = \"close\"\n",
        &[],
    ),
    // The profile
    (
        PAIR,
        "profile = \"rfc5798\"\naccept = false\n",
        &[
            "7:11: error[E011]: `profile` must be one of \"rfc9568\", got \"rfc5798\"",
            "8:1: error[E012]: unknown key `accept` in [vrrp.main]; did you mean `accept_mode`?",
        ],
    ),
    (
        PAIR,
        "profile = \"rfc9568\"\nversion = 2\n",
        &[
            "7:11: error[E041]: `profile = \"rfc9568\"` is version 3; remove one of `profile` and `version`",
        ],
    ),
    (
        PAIR,
        "profile = \"rfc9568\"\n[vrrp.six]\nprofile = \"rfc9568\"\ninterface = \"eth0\"\nvrid = 6\nvips = [\"2001:db8::10/64\"]\n",
        &[
            "12:9: error[E013]: RFC 9568 wants a link-local address among the IPv6 VIPs; add for example \"fe80::10/64\", the same on every router",
        ],
    ),
    // W070
    (
        PAIR,
        "[global]\nmetrics = \"10.0.0.10:9100\"\n",
        &[
            "8:11: warning[W070]: `metrics` is bound to a VIP; write \"node:9100\" for this node's own address",
        ],
    ),
    // W072
    (
        PAIR,
        "priority = 100\n",
        &[
            "7:12: warning[W072]: two nodes have the same priority: the higher address wins; write for example `priority = { lb1 = 200, lb2 = 100 }`",
        ],
    ),
    (
        PAIR,
        "priority = { lb1 = 101, lb2 = 100 }\nadvert_interval = \"50ms\"\n",
        &[
            "8:19: warning[W072]: at an interval of 50ms, priorities 1 apart make a difference of 0.2 ms only; choose a longer interval, or priorities further apart",
        ],
    ),
];
