# Reference values of R's survival and cmprsk packages; r_competing.json is what this prints:
#   python tests/tl/test_r_competing.py FOLDER && Rscript tests/tl/r_competing.R FOLDER > tests/tl/r_competing.json
# FOLDER receives one CSV a data set: time, entry, cause (0 censored), group, stratum, cluster, x1, x2, x3.
suppressMessages({library(survival); library(cmprsk); library(jsonlite)})

strict <- coxph.control(eps = 1e-13, toler.chol = 1e-14, iter.max = 100)
spread <- function(x, n = 6) x[unique(round(seq(1, length(x), length.out = n)))]

incidence <- function(data) {  # of cmprsk: estimate and Aalen's variance
  fit <- cuminc(data$time, data$cause, data$group)
  curves <- timepoints(fit, spread(sort(unique(data$time[data$cause > 0]))))
  list(time = as.numeric(colnames(curves$est)), est = curves$est, var = curves$var, curve = rownames(curves$est),
       gray = unname(fit$Tests[, "stat"]), gray_p = unname(fit$Tests[, "pv"]),
       gray_strata = unname(cuminc(data$time, data$cause, data$group, strata = data$stratum)$Tests[, "stat"]))
}

states <- function(data) {  # of survival, with late entry: estimate alone
  data$state <- factor(data$cause)
  data$id <- seq_len(nrow(data))
  fit <- survfit(Surv(entry, time, state) ~ 1, data = data, id = id)
  s <- summary(fit, times = spread(sort(unique(data$time[data$cause > 0]))))
  list(time = s$time, est = s$pstate[, 2])
}

finegrays <- function(data) {
  data$state <- factor(data$cause)
  fit_one <- function(ties) {
    wide <- finegray(Surv(time, state) ~ x1 + x2 + x3 + id, data = transform(data, id = seq_along(time)), etype = "1")
    fit <- coxph(Surv(fgstart, fgstop, fgstatus) ~ x1 + x2 + x3, weights = fgwt, data = wide, ties = ties,
                 cluster = id, control = strict)
    list(coef = unname(coef(fit)), se = unname(sqrt(diag(vcov(fit)))), naive = unname(sqrt(diag(fit$naive.var))),
         loglik = fit$loglik)
  }
  fit <- crr(data$time, data$cause, data[, c("x1", "x2", "x3")], gtol = 1e-10)
  late <- finegray(Surv(entry, time, state) ~ x1 + x2 + x3 + id, data = transform(data, id = seq_along(time)),
                   etype = "1", id = id)
  late <- coxph(Surv(fgstart, fgstop, fgstatus) ~ x1 + x2 + x3, weights = fgwt, data = late, cluster = id,
                control = strict)
  list(efron = fit_one("efron"), breslow = fit_one("breslow"),
       late = list(coef = unname(coef(late)), se = unname(sqrt(diag(vcov(late))))),
       crr = list(coef = unname(fit$coef), se = unname(sqrt(diag(fit$var)))))
}

curve <- function(data) {  # late entry
  fit <- survfit(Surv(entry, time, event) ~ group, data = data, conf.type = "log-log")
  lapply(setNames(seq_along(fit$strata), sort(unique(data$group))), function(i) {
    one <- fit[i]
    s <- summary(one, times = spread(one$time[one$n.event > 0 & one$surv > 0]))
    list(time = s$time, at_risk = s$n.risk, survival = s$surv, low = s$lower, high = s$upper)
  })
}

regression <- function(data, ties, strata = FALSE, cluster = NULL) {
  formula <- Surv(entry, time, event) ~ x1 + x2 + x3
  if (strata) formula <- update(formula, . ~ . + strata(stratum))
  call <- list(formula = formula, data = data, ties = ties, control = strict, model = TRUE, x = TRUE, y = TRUE)
  if (!is.null(cluster)) call$cluster <- cluster
  fit <- do.call(coxph, call)
  list(coef = unname(coef(fit)), se = unname(sqrt(diag(vcov(fit)))), loglik = fit$loglik, score = fit$score,
       concordance = unname(summary(fit)$concordance[1]),
       zph = unname(cox.zph(fit, transform = "km", terms = FALSE)$table[, "p"]))
}

jackknife <- function(data, steps) {  # delete one cluster; the whole fit's estimates are where each starts
  fit <- coxph(Surv(time, event) ~ x1 + x2 + x3, data = data, control = strict)
  clusters <- sort(unique(data$cluster))
  left_out <- t(sapply(clusters, function(one) suppressWarnings(coef(coxph(
    Surv(time, event) ~ x1 + x2 + x3, data = data[data$cluster != one, ], init = coef(fit),
    control = coxph.control(iter.max = steps, eps = 1e-13, toler.chol = 1e-14))))))
  away <- sweep(left_out, 2, coef(fit))
  list(clusters = length(clusters), se = unname(sqrt(diag((length(clusters) - 1) / length(clusters) * crossprod(away)))))
}

means <- function(data, late) {
  tau <- min(tapply(data$time, data$group, max))
  formula <- if (late) Surv(entry, time, event) ~ group else Surv(time, event) ~ group
  table <- summary(survfit(formula, data = data), rmean = tau)$table
  list(tau = tau, rmean = unname(table[, "rmean"]), se = unname(table[, "se(rmean)"]))
}

analyse <- function(file) {
  data <- read.csv(file)
  data$event <- as.integer(data$cause > 0)
  untied <- data[!duplicated(data$time), ]  # ties = "exact" takes hours for many ties
  late <- coxph(Surv(entry, time, event) ~ factor(group), data = untied, ties = "exact")
  late_strata <- coxph(Surv(entry, time, event) ~ factor(group) + strata(stratum), data = untied, ties = "exact")
  weighted <- function(rho) survdiff(Surv(time, event) ~ group, data = data, rho = rho)$chisq
  weighted_strata <- function(rho) survdiff(Surv(time, event) ~ group + strata(stratum), data = data, rho = rho)$chisq
  list(
    n = nrow(data), causes = as.vector(table(data$cause)),
    incidence = incidence(data), states = states(data), finegray = finegrays(data),
    km_late = curve(data), logrank_late = late$score, logrank_late_strata = late_strata$score,
    rho = list(half = weighted(0.5), one = weighted(1), one_strata = weighted_strata(1)),
    efron = regression(data, "efron"), breslow = regression(data, "breslow"),
    efron_strata = regression(data, "efron", strata = TRUE),
    efron_cluster = regression(data, "efron", cluster = data$cluster),
    jackknife = jackknife(data, 100), jackknife_one = jackknife(data, 1),
    rmst = means(data, FALSE), rmst_late = means(data, TRUE)
  )
}

files <- sort(list.files(commandArgs(trailingOnly = TRUE)[1], pattern = "[.]csv$", full.names = TRUE))
results <- lapply(setNames(files, sub("[.]csv$", "", basename(files))), analyse)
versions <- paste0("R ", getRversion(), ", survival ", packageVersion("survival"), ", cmprsk ", packageVersion("cmprsk"))
cat(toJSON(list(made_by = versions, results = results), digits = 15, auto_unbox = TRUE, na = "null", pretty = FALSE), "\n", sep = "")
