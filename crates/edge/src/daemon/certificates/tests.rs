use super::*;
use crate::daemon::testing::{config, now};
use ironbrook_testkit::TestClock;
use tempfile::TempDir;
use x509_parser::prelude::{FromDer as _, X509Certificate};

const YEAR: Duration = Duration::from_secs(365 * 24 * 3600);

struct World {
    certificates: Certificates,
    clock: TestClock,
    folder: TempDir,
}

impl World {
    fn new() -> Self {
        let (folder, clock) = (tempfile::tempdir().unwrap(), TestClock::new(now()));
        let certificates = open(&folder, &clock).unwrap();
        Self { certificates, clock, folder }
    }

    /// Numbers of the authorities, and which of them signs.
    fn authorities(&self) -> (Vec<u32>, u32) {
        let state = self.certificates.lock();
        (state.authorities.iter().map(|authority| authority.number).collect(), state.served.issuer)
    }

    fn after(&self, passed: Duration) -> (Vec<u32>, u32) {
        self.clock.advance(passed);
        self.certificates.look().unwrap();
        self.authorities()
    }

    fn bundle(&self) -> Vec<CertificateDer<'static>> {
        let bundle = self.certificates.trust_bundle();
        CertificateDer::pem_slice_iter(bundle.as_bytes()).map(Result::unwrap).collect()
    }
}

fn open(folder: &TempDir, clock: &TestClock) -> Result<Certificates, Error> {
    Certificates::open(folder.path(), &config(folder.path()), Arc::new(clock.clone()))
}

#[test]
fn an_authority_overlaps_with_its_successor_and_nothing_else_changes_meanwhile() {
    let world = World::new();
    assert_eq!(world.authorities(), (vec![1], 1));
    assert_eq!(world.after(YEAR * 7), (vec![1], 1));
    // At 80 % of ten years there is another one, which does not sign yet.
    assert_eq!(world.after(YEAR + YEAR / 100), (vec![1, 2], 1));
    assert_eq!(world.bundle().len(), 2);
    assert_eq!(world.after(YEAR / 2), (vec![1, 2], 1));
    assert_eq!(world.after(YEAR / 2), (vec![1, 2], 2));
    assert_eq!(world.bundle().len(), 2);
    // The old one ends; its file goes.
    assert_eq!(world.after(YEAR), (vec![2], 2));
    assert_eq!(world.bundle().len(), 1);
    assert!(!world.folder.path().join("ca/1.pem").exists());
    let again = open(&world.folder, &world.clock).unwrap();
    assert_eq!(*again.trust_bundle(), *world.certificates.trust_bundle(), "a restart finds the same");
}

#[test]
fn the_servers_certificate_is_replaced_in_place_and_in_time() {
    let world = World::new();
    let config = world.certificates.server_config();
    let first = config.load_full();
    world.after(SERVER_RENEW_AFTER - Duration::from_secs(1));
    assert!(Arc::ptr_eq(&first, &config.load_full()));
    world.after(Duration::from_secs(1));
    let second = config.load_full();
    assert!(!Arc::ptr_eq(&first, &second));
    world.after(YEAR * 9);
    assert!(!Arc::ptr_eq(&second, &config.load_full()));
}

#[test]
fn a_clock_that_was_wrong_at_first_start_is_survived() {
    let folder = tempfile::tempdir().unwrap();
    let future = TestClock::new(now().plus(YEAR * 30));
    drop(open(&folder, &future).unwrap());
    // An authority of the future is kept, but one of now signs.
    let certificates = open(&folder, &TestClock::new(now())).unwrap();
    let bundle = certificates.trust_bundle();
    assert_eq!(CertificateDer::pem_slice_iter(bundle.as_bytes()).count(), 2);
    assert_eq!(certificates.lock().served.issuer, 2);
}

#[test]
fn the_bundle_holds_the_configured_certificates_and_nothing_else_of_their_file() {
    let other = World::new();
    let folder = tempfile::tempdir().unwrap();
    let extra = folder.path().join("extra.pem");
    let text = std::fs::read_to_string(other.folder.path().join("ca/1.pem")).unwrap();
    assert!(text.contains("PRIVATE KEY"));
    std::fs::write(&extra, format!("some words\n{text}")).unwrap();
    let config = Config { extra_trust: Some(extra.clone()), ..config(folder.path()) };
    let open = || Certificates::open(folder.path(), &config, Arc::new(TestClock::new(now())));
    let bundle = open().unwrap().trust_bundle();
    assert!(!bundle.contains("PRIVATE KEY") && bundle.ends_with(other.certificates.trust_bundle().as_str()));
    assert_eq!(std::fs::read_to_string(folder.path().join("trust-bundle.pem")).unwrap(), *bundle);
    for wrong in ["", "no certificate", "-----BEGIN CERTIFICATE-----\nAA"] {
        std::fs::write(&extra, wrong).unwrap();
        assert!(open().is_err_and(|error| error.to_string().contains("extra.pem")), "{wrong}");
    }
}

#[test]
fn a_damaged_authority_is_named_and_not_replaced() {
    let world = World::new();
    let path = world.folder.path().join("ca/1.pem");
    let good = std::fs::read_to_string(&path).unwrap();
    let other = std::fs::read_to_string(World::new().folder.path().join("ca/1.pem")).unwrap();
    let certificate = |text: &str| text[text.find("-----BEGIN CERTIFICATE").unwrap()..].to_owned();
    let key = good.replace(&certificate(&good), "");
    for wrong in ["", "x", &key, &certificate(&good), &format!("{key}{}", certificate(&other))] {
        std::fs::write(&path, wrong).unwrap();
        let error = open(&world.folder, &world.clock).err().unwrap().to_string();
        assert!(error.contains("1.pem") && !error.contains("PRIVATE"), "{error}");
        assert_eq!(std::fs::read_to_string(&path).unwrap(), wrong);
    }
}

#[test]
fn keys_are_private_and_the_authority_signs_only_servers_and_clients() {
    use std::os::unix::fs::PermissionsExt as _;
    let world = World::new();
    let mode = std::fs::metadata(world.folder.path().join("ca/1.pem")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let bundle = world.bundle();
    let (_, authority) = X509Certificate::from_der(&bundle[0]).unwrap();
    let constraints = authority.basic_constraints().unwrap().unwrap().value;
    assert_eq!((constraints.ca, constraints.path_len_constraint), (true, Some(0)));
    assert!(authority.subject().to_string().contains("ironbrook edge CA edge-1"));
}

#[test]
fn names_are_unique_checked_and_hold_loopback() {
    let names = subject_names("LOCALHOST", &["gw.example.test".to_owned(), "10.0.0.1".to_owned()]).unwrap();
    assert_eq!(names[0], "LOCALHOST");
    assert_eq!(names.iter().filter(|name| name.eq_ignore_ascii_case("localhost")).count(), 1);
    assert!(["127.0.0.2", "::1", "10.0.0.1"].iter().all(|name| names.iter().any(|n| n == name)));
    assert!(subject_names("a b", &[]).is_err());
    assert!(subject_names("", &[]).is_err());
}

#[tokio::test]
async fn a_handshake_with_the_bundle_holds_under_each_name() {
    use rustls::pki_types::ServerName;
    let world = World::new();
    world.after(YEAR * 9 + YEAR / 100);
    let mut roots = rustls::RootCertStore::empty();
    world.bundle().into_iter().for_each(|certificate| roots.add(certificate).unwrap());
    let time = rustls::pki_types::UnixTime::since_unix_epoch(Duration::from_secs(
        world.clock.now().as_secs() as u64,
    ));
    let verifier = rustls::client::WebPkiServerVerifier::builder_with_provider(
        Arc::new(roots),
        Arc::new(rustls::crypto::aws_lc_rs::default_provider()),
    )
    .build()
    .unwrap();
    let id = ModuleId::new("m").unwrap();
    let issued = world.certificates.module_server(&id, "gateway.example.test", None).unwrap();
    for name in ["gateway.example.test", "m"] {
        let name = ServerName::try_from(name).unwrap();
        rustls::client::danger::ServerCertVerifier::verify_server_cert(
            &*verifier,
            &issued.chain[0],
            &issued.chain[1..],
            &name,
            &[],
            time,
        )
        .unwrap();
    }
}
