//! The Kubernetes manifests: their schemas, the pod's restrictions, and that its volume is a configuration which the gateway takes,
//! and takes anew when the kubelet swaps it.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use portcullis::app::start::start;
use portcullis::config;
use portcullis::yaml;
use serde_json::{Value, json};

use crate::deploy::{Site, run_if_there};
use crate::support::gateway::wait_for;

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/kubernetes");
const VALIDATOR: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/target/clients/python/bin/kubernetes-validate");

/// The resources of a file.
fn documents(name: &str) -> Vec<Value> {
    let file = Path::new(FOLDER).join(name);
    let text = fs::read_to_string(&file).unwrap();
    let parse = |text: &str| yaml::parse(&file, text).unwrap_or_else(|fault| panic!("{fault}"));
    text.split("\n---\n").map(parse).collect()
}

/// The files that are applied.
fn resources() -> Vec<String> {
    let listed = &documents("kustomization.yaml")[0]["resources"];
    listed.as_array().unwrap().iter().map(|name| name.as_str().unwrap().to_owned()).collect()
}

fn pod() -> Value {
    documents("deployment.yaml")[0]["spec"]["template"]["spec"].clone()
}

fn list<'a>(value: &'a Value, pointer: &str) -> &'a [Value] {
    value.pointer(pointer).and_then(Value::as_array).unwrap_or_else(|| panic!("no {pointer}"))
}

#[test]
fn every_manifest_has_its_schema() {
    let valid = |file: &Path| {
        run_if_there(Command::new(VALIDATOR).arg("--strict").arg(file))
            .map(|told| (told.status.success(), told))
    };
    let others = ["secret.example.yaml".to_owned()];
    for name in resources().iter().chain(&others) {
        let Some((valid, told)) = valid(&Path::new(FOLDER).join(name)) else { return };
        let told =
            String::from_utf8_lossy(&told.stderr).into_owned() + &String::from_utf8_lossy(&told.stdout);
        assert!(valid && !told.contains("WARN") && told.contains("passed"), "{name}: {told}");
    }
    let broken = tempfile::Builder::new().suffix(".yaml").tempfile().unwrap();
    let text = fs::read_to_string(Path::new(FOLDER).join("deployment.yaml")).unwrap();
    fs::write(broken.path(), text.replace("readOnlyRootFilesystem", "readOnlyRoot")).unwrap();
    assert!(!valid(broken.path()).unwrap().0, "anything is valid");
}

#[test]
fn the_pod_is_restricted() {
    let pod = pod();
    for (pointer, want) in [
        ("/automountServiceAccountToken", json!(false)),
        ("/securityContext/runAsNonRoot", json!(true)),
        ("/securityContext/runAsUser", json!(65532)),
        ("/securityContext/seccompProfile/type", json!("RuntimeDefault")),
        ("/containers/0/securityContext/allowPrivilegeEscalation", json!(false)),
        ("/containers/0/securityContext/readOnlyRootFilesystem", json!(true)),
        ("/containers/0/securityContext/capabilities/drop", json!(["ALL"])),
        ("/containers/0/readinessProbe/httpGet/path", json!("/readyz")),
        ("/containers/0/livenessProbe/httpGet/path", json!("/livez")),
        ("/containers/0/volumeMounts/0/readOnly", json!(true)),
    ] {
        assert_eq!(pod.pointer(pointer), Some(&want), "{pointer}");
    }
    assert!(documents("deployment.yaml")[0]["spec"]["replicas"].as_u64().unwrap() >= 2);
    let user = fs::read_to_string(Path::new(FOLDER).join("../docker/Dockerfile")).unwrap();
    assert_eq!(user.matches("\nUSER 65532:65532\n").count(), 2, "the image has another user");
}

/// What each selector finds: this pod, and of the host what the second policy protects.
#[test]
fn selectors_find_the_pod() {
    let labels = documents("deployment.yaml")[0]["spec"]["template"]["metadata"]["labels"].clone();
    let policies = documents("networkpolicy.yaml");
    let (gateway, host) = (&policies[0], &policies[1]);
    for (what, selector) in [
        ("deployment", &documents("deployment.yaml")[0]["spec"]["selector"]["matchLabels"]),
        ("service", &documents("services.yaml")[0]["spec"]["selector"]),
        ("disruption budget", &documents("poddisruptionbudget.yaml")[0]["spec"]["selector"]["matchLabels"]),
        ("monitor", &documents("monitoring/podmonitor.yaml")[0]["spec"]["selector"]["matchLabels"]),
        ("policy", &gateway["spec"]["podSelector"]["matchLabels"]),
        ("policy of the host", &host["spec"]["ingress"][0]["from"][0]["podSelector"]["matchLabels"]),
    ] {
        assert_eq!(selector, &labels, "{what}");
    }
    assert_ne!(host["spec"]["podSelector"]["matchLabels"], labels);
}

#[test]
fn the_control_port_is_for_monitoring_and_the_host_for_the_gateway() {
    let policies = documents("networkpolicy.yaml");
    let rules = list(&policies[0], "/spec/ingress");
    let to_control = |rule: &&Value| rule["ports"].to_string().contains("control");
    assert_eq!(rules.iter().filter(to_control).count(), 1);
    let monitoring = "/from/0/namespaceSelector/matchLabels/kubernetes.io~1metadata.name";
    for rule in rules.iter().filter(to_control) {
        assert_eq!(rule.pointer(monitoring), Some(&json!("monitoring")));
        assert_eq!((list(rule, "/from").len(), list(rule, "/ports").len()), (1, 1));
    }
    assert!(rules.iter().all(|rule| rule["ports"].is_array()), "a rule for every port");
    assert_eq!(list(&policies[1], "/spec/ingress").len(), 1);
    assert_eq!(list(&policies[1], "/spec/ingress/0/from").len(), 1);
}

/// Where each key of each generated map comes from: `(map, key, file)`.
fn generated() -> Vec<(String, String, PathBuf)> {
    let kustomization = &documents("kustomization.yaml")[0];
    let of = |generator: &Value| {
        let name = generator["name"].as_str().unwrap().to_owned();
        let files = list(generator, "/files").iter().map(|file| file.as_str().unwrap());
        let pair = |file: &str| match file.split_once('=') {
            Some((key, path)) => (key.to_owned(), PathBuf::from(path)),
            None => (Path::new(file).file_name().unwrap().to_str().unwrap().to_owned(), PathBuf::from(file)),
        };
        files.map(pair).map(|(key, path)| (name.clone(), key, path)).collect::<Vec<_>>()
    };
    list(kustomization, "/configMapGenerator").iter().flat_map(of).collect()
}

/// The volume's files: path in it, and the source.
fn volume() -> Vec<(String, String)> {
    let pod = pod();
    let maps =
        list(&pod, "/volumes/0/projected/sources").iter().filter(|source| source["configMap"].is_object());
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    maps.flat_map(|source| {
        let name = text(&source["configMap"]["name"]);
        let items = list(source, "/configMap/items").to_vec();
        items.into_iter().map(move |item| (text(&item["path"]), format!("{name}/{}", text(&item["key"]))))
    })
    .collect()
}

#[test]
fn the_volume_has_the_shape_of_the_folder() {
    let mut from_files: Vec<_> = generated()
        .into_iter()
        .map(|(map, key, file)| {
            let path = file.strip_prefix("config").unwrap().display().to_string();
            (path, format!("{map}/{key}"))
        })
        .collect();
    let mut in_volume = volume();
    from_files.sort();
    in_volume.sort();
    assert_eq!(in_volume, from_files);
    let yaml = |path: &Path| path.extension().is_some_and(|is| is == "yaml");
    let mut left = vec![Path::new(FOLDER).join("config")];
    let mut found = 0;
    while let Some(path) = left.pop() {
        if path.is_dir() {
            left.extend(fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path()));
        } else if yaml(&path) {
            found += 1;
        }
    }
    assert_eq!(found, in_volume.len(), "a file in the folder and not in the volume");
}

/// The volume as the kubelet lays it out, with what a real one holds.
fn mounted() -> Site {
    let site = Site::of(&Path::new(FOLDER).join("config"));
    fs::create_dir(site.path("..v1")).unwrap();
    for (from, to) in [("tls/cert.pem", "tls/tls.crt"), ("tls/key.pem", "tls/tls.key")] {
        fs::rename(site.path(from), site.path(to)).unwrap();
    }
    symlink("..v1", site.path("..data")).unwrap();
    for name in ["portcullis.yaml", "policies", "tls"] {
        fs::rename(site.path(name), site.path("..v1").join(name)).unwrap();
        symlink(format!("..data/{name}"), site.path(name)).unwrap();
    }
    site
}

#[test]
fn the_configuration_is_sound() {
    let told = mounted().run(&["check"]);
    assert!(told.status.success(), "{}", String::from_utf8_lossy(&told.stdout));
    let warnings = String::from_utf8_lossy(&told.stderr);
    assert_eq!(warnings, "warning: `control` on `0.0.0.0:8081` is open to the network\n");
}

#[test]
fn a_pod_has_the_time_to_drain() {
    let config = config::load(&mounted().path("portcullis.yaml")).unwrap();
    let pod = pod();
    let seconds = |pointer: &str| Duration::from_secs(pod.pointer(pointer).unwrap().as_u64().unwrap());
    let grace = seconds("/terminationGracePeriodSeconds");
    let before = seconds("/containers/0/lifecycle/preStop/sleep/seconds");
    assert!(grace >= before + config.drain + Duration::from_secs(10), "{grace:?}");
}

#[test]
fn a_swapped_volume_is_taken() {
    let site = mounted();
    site.replace("portcullis.yaml", "0.0.0.0:8443", "127.0.0.1:0");
    site.replace("portcullis.yaml", "0.0.0.0:8081", "127.0.0.1:0");
    let file = site.path("portcullis.yaml");
    let running = start(&config::load(&file).unwrap(), &file).unwrap();
    let before = running.policy_generation();
    assert!(
        Command::new("cp").arg("-r").args([site.path("..v1"), site.path("..v2")]).status().unwrap().success()
    );
    site.replace("..v2/policies/tokens/ci.yaml", "user: ci-bot", "state: revoked\n    user: ci-bot");
    symlink("..v2", site.path("..next")).unwrap();
    fs::rename(site.path("..next"), site.path("..data")).unwrap();
    fs::remove_dir_all(site.path("..v1")).unwrap();
    wait_for("the new volume", || running.policy_generation() > before);
    running.stop().unwrap();
}
