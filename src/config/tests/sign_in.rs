//! `api.trusted_header` and `api.oidc`.

use crate::config::tests::check_top;

#[test]
fn who_signs_people_in() {
    let check = |api: &str, want: &[&str]| {
        let at = format!("store: sqlite:a.db\napi:\n  url: http://a.example\n{api}");
        check_top(&at, want);
    };
    check("  trusted_header: { name: X-Login, networks: [10.0.0.0/8, '::1/128'] }", &[]);
    check("  trusted_header: {}", &["4:19: `name` is missing", "4:19: `networks` is missing"]);
    check(
        "  trusted_header: { name: X-Login, networks: [] }",
        &["4:46: expected the networks of the proxies"],
    );
    for network in ["10.0.0.1/8", "10.0.0.1", "all"] {
        let api = format!("  trusted_header: {{ name: X-Login, networks: [{network}] }}");
        check(&api, &["4:47: expected a network whose address has no bit behind the prefix"]);
    }
    check("  trusted_header: { name: Cookie, networks: [10.0.0.0/8] }", &["4:27: the header field `cookie`"]);
    let provider = |name: &str, issuer: &str| {
        format!("    - {{ name: {name}, issuer: '{issuer}', client_id: a, client_secret_file: secret }}")
    };
    check(
        &format!("  oidc:\n{}", provider("sso", "http://sso.example.com")),
        &["5:28: expected the provider's URL"],
    );
    for issuer in ["https://a.example?x", "https://u@a.example", "https://", "a.example", "ftp://a.example"] {
        check(&format!("  oidc:\n{}", provider("sso", issuer)), &["5:28: expected the provider's URL"]);
    }
    for issuer in ["https://a.example/realms/x", "http://127.0.0.1:1", "http://[::1]", "http://localhost:1/"]
    {
        check(&format!("  oidc:\n{}", provider("sso", issuer)), &[]);
    }
    check_top(
        "store: sqlite:a.db\napi:\n  oidc:\n    - { name: a }",
        &["4:5: providers send people back to `api.url`; add it"],
    );
}
