//! Connections whose root is distrusted.

use std::future::poll_fn;

use rustls::pki_types::CertificateDer;

use super::super::term::{Term, Trust};
use super::*;

fn trusting(roots: &[&Authority]) -> Arc<Secrets> {
    let mut bundle = roots[0].bundle(&["mesh.local"]);
    bundle.roots = roots.iter().map(|root| root.0.der().to_vec()).collect();
    Arc::new(secrets(&[], bundle))
}

/// Two connections with who has shown this chain: one that it has opened, and one to it.
fn both(trust: &Trust, chain: Vec<CertificateDer<'static>>) -> [Term; 2] {
    let (peer, bundle) = (Peer::from_leaf(&chain[0]).unwrap(), "mesh".into());
    [
        trust.of_client(&peer, &bundle, chain.clone()).term,
        trust.of_endpoint(&peer, &bundle, chain).term,
    ]
}

fn leaf(authority: &Authority) -> CertificateDer<'static> {
    CertificateDer::from(authority.leaf("leaf", &[WEB]).certificate_chain.remove(0))
}

#[tokio::test(start_paused = true)]
async fn who_has_no_root_left_has_the_grace_and_all_others_stay() {
    let [old, new] = ["old", "new"].map(Authority::called);
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, "new");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let crossed = params.signed_by(new.0.key(), &old.0).unwrap().der().clone();

    let trust = Trust::default();
    trust.change(trusting(&[&old, &new]));
    let of_old = both(&trust, vec![leaf(&old)]);
    let of_new = both(&trust, vec![leaf(&new)]);
    let of_both = both(&trust, vec![leaf(&new), crossed]);
    let all = || of_old.iter().chain(&of_new).chain(&of_both);

    tokio::task::LocalSet::new()
        .run_until(async {
            // One root more, and another order, are no reason.
            trust.change(trusting(&[&new, &Authority::called("newest"), &old]));
            tokio::task::yield_now().await;
            assert!(!all().any(Term::is_cut));

            let before = of_old[0].last_call();
            trust.change(trusting(&[&new]));
            for term in &of_old {
                poll_fn(|cx| term.poll_cut(cx)).await;
                assert_eq!(term.end() - clock::now(), Term::GRACE);
                assert!(term.last_call() <= clock::now() && term.last_call() < before);
                let error = term.over();
                assert_eq!(error.reason, Reason::CertificateEnded);
                let words = format!("seen {WEB}: no trusted authority has signed it, its issuer is CN=old");
                assert!(error.to_string().contains(&words), "{error}");
            }
            while clock::now() < of_old[0].end() {
                clock::sleep(Term::GRACE).await;
            }
            assert!(!of_new.iter().chain(&of_both).any(Term::is_cut));
        })
        .await;
}

#[test]
fn terms_that_are_over_are_forgotten() {
    let (authority, trust) = (Authority::new(), Trust::default());
    let shown = vec![leaf(&authority)];
    let kept = both(&trust, shown.clone());
    for _ in 0..1000 {
        both(&trust, shown.clone());
    }
    assert!(trust.held() < 10, "{}", trust.held());
    assert!(!kept.iter().any(Term::is_cut));
}
