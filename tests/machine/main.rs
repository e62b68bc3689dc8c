//! The package, installed with apt on a Debian whose PID 1 is systemd.
//!
//! Each test boots a machine of its own from a cached base and throws it away. `tests/run` makes the bases
//! and the package, and runs these tests: they need root.

#![allow(clippy::unwrap_used, reason = "a test that unwraps is a test that fails")]

mod booted;
mod browser;
mod call;
mod cluster;
mod compatibility;
mod container;
mod crowd;
mod docs;
mod dpkg;
mod forwarder;
mod goodbye;
mod load;
mod old_page;
mod on_air;
mod package;
mod proxied;
mod published;
mod repository;
mod restart;
mod service;
mod station;
mod studio;
mod surroundings;
mod tls;
mod unattended;
mod upgrade;

#[path = "../support/alive.rs"]
mod alive;
#[path = "../support/count.rs"]
mod count;
#[path = "../support/fetch.rs"]
mod fetch;
#[path = "../support/file_limit.rs"]
mod file_limit;
#[path = "../support/listener.rs"]
mod listener;
#[path = "../support/page.rs"]
mod page;
#[path = "../support/running.rs"]
mod running;
#[path = "../support/secure.rs"]
mod secure;
#[path = "../support/shown.rs"]
mod shown;
#[path = "../support/mod.rs"]
mod support;
#[path = "../support/talk.rs"]
mod talk;
#[path = "../support/webdriver.rs"]
mod webdriver;

use browser::a_browser_gets_its_pong;
use call::{two_browsers_call_and_one_comes_back, two_browsers_notice_no_restart};
use cluster::{a_node_reaches_nats_out_of_the_sandbox, three_machines_are_one_studio};
use compatibility::what_has_changed_since_0_1_0_is_in_the_log;
use crowd::a_crowd_notices_no_restart;
use docs::{ten_minutes_lead_on_air, the_docs_can_be_followed};
use dpkg::{
    clients_stay_while_dpkg_is_interrupted, it_comes_back_after_remove_and_purge,
    it_starts_after_a_boot_in_an_upgrade,
};
use old_page::an_open_page_of_0_1_0_connects_again;
use on_air::a_programme_goes_out_of_the_sandbox;
use package::{
    an_upgrade_under_load_refuses_nobody_and_keeps_settings, autopkgtest_passes,
    install_starts_a_service_that_explains_itself, purge_leaves_nothing_behind,
};
use proxied::behind_a_proxy_it_is_kept_and_comes_back_after_a_boot;
use repository::it_is_installed_and_upgraded_from_a_repository;
use restart::{an_older_program_gets_nothing_and_clients_hear_goodbye, clients_notice_no_restart};
use service::{
    a_long_drain_gets_the_time_it_asks_for, a_stopped_journal_holds_nobody_up,
    bad_settings_fail_with_78_and_stay_down, crashes_and_hangs_are_restarted,
    memory_that_runs_out_is_a_restart, restarts_and_reloads_refuse_nobody,
    stop_says_goodbye_to_clients,
};
use station::{invites_survive_a_restart, root_makes_invites, secrets_and_the_manifest_are_set};
use studio::the_studio_is_a_package_of_its_own;
use surroundings::{
    a_container_without_namespaces_has_its_drop_in, it_is_installed_without_dbus,
    it_is_installed_without_ipv6, it_runs_where_usr_is_read_only,
    it_serves_ipv4_where_there_is_no_ipv6, it_starts_where_unshare_is_blocked,
    the_drop_in_examples_work,
};
use tls::{a_renewed_certificate_drops_nobody, every_source_of_a_certificate_reloads};
use unattended::automatic_upgrades_keep_clients;
use upgrade::all_of_0_1_0_is_kept_on_the_way_here_and_back;

/// Makes a test of each scenario on each release.
macro_rules! on_both_releases {
    ($($scenario:ident)*) => {
        mod bookworm {
            $(#[test] #[ignore = "boots a machine"] fn $scenario() { super::$scenario("bookworm"); })*
        }
        mod trixie {
            $(#[test] #[ignore = "boots a machine"] fn $scenario() { super::$scenario("trixie"); })*
        }
    };
}

on_both_releases! {
    a_programme_goes_out_of_the_sandbox
    a_node_reaches_nats_out_of_the_sandbox
    clients_notice_no_restart
    a_crowd_notices_no_restart
    an_older_program_gets_nothing_and_clients_hear_goodbye
    install_starts_a_service_that_explains_itself
    restarts_and_reloads_refuse_nobody
    an_upgrade_under_load_refuses_nobody_and_keeps_settings
    it_is_installed_and_upgraded_from_a_repository
    automatic_upgrades_keep_clients
    crashes_and_hangs_are_restarted
    memory_that_runs_out_is_a_restart
    bad_settings_fail_with_78_and_stay_down
    stop_says_goodbye_to_clients
    a_long_drain_gets_the_time_it_asks_for
    a_stopped_journal_holds_nobody_up
    the_drop_in_examples_work
    invites_survive_a_restart
    root_makes_invites
    secrets_and_the_manifest_are_set
    a_renewed_certificate_drops_nobody
    every_source_of_a_certificate_reloads
    the_studio_is_a_package_of_its_own
    it_starts_where_unshare_is_blocked
    a_container_without_namespaces_has_its_drop_in
    it_serves_ipv4_where_there_is_no_ipv6
    it_is_installed_without_dbus
    it_is_installed_without_ipv6
    it_runs_where_usr_is_read_only
    purge_leaves_nothing_behind
    clients_stay_while_dpkg_is_interrupted
    it_starts_after_a_boot_in_an_upgrade
    it_comes_back_after_remove_and_purge
    autopkgtest_passes
    the_docs_can_be_followed
    ten_minutes_lead_on_air
    a_browser_gets_its_pong
    two_browsers_call_and_one_comes_back
    two_browsers_notice_no_restart
}

/// With the package of 0.1.0, which not each clone can build: a step of their own runs these.
mod from_0_1_0 {
    use super::{
        all_of_0_1_0_is_kept_on_the_way_here_and_back, an_open_page_of_0_1_0_connects_again,
        behind_a_proxy_it_is_kept_and_comes_back_after_a_boot,
        what_has_changed_since_0_1_0_is_in_the_log,
    };

    on_both_releases! {
        all_of_0_1_0_is_kept_on_the_way_here_and_back
        an_open_page_of_0_1_0_connects_again
        behind_a_proxy_it_is_kept_and_comes_back_after_a_boot
        what_has_changed_since_0_1_0_is_in_the_log
    }
}

/// Where nats-server 2.9 would not do.
mod only_trixie {
    #[test]
    #[ignore = "boots machines"]
    fn three_machines_are_one_studio() {
        super::three_machines_are_one_studio("trixie");
    }
}
